package coldplug

import "strings"

// literalPrefix is what every string that the pattern matches begins with.
func literalPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

// match tells whether pattern matches all of s, as fnmatch(3) without flags.
// path.Match is not used because its * stops at a slash.
//
// It backtracks to the last * only, which is enough: an earlier * could only
// take characters that the last one may take as well. So the time is at most
// len(pattern) × len(s).
func match(pattern, s string) bool {
	var starPattern, starS string
	star := false
	for s != "" || pattern != "" {
		if strings.HasPrefix(pattern, "*") {
			star, pattern = true, pattern[1:]
			starPattern, starS = pattern, s
			continue
		}
		if rest, ok := matchOne(pattern, s); ok {
			pattern, s = rest, s[1:]
			continue
		}
		if !star || starS == "" {
			return false
		}
		starS = starS[1:]
		pattern, s = starPattern, starS
	}
	return true
}

// matchOne matches the first byte of s and returns the rest of the pattern.
func matchOne(pattern, s string) (rest string, ok bool) {
	if pattern == "" || s == "" {
		return "", false
	}
	switch pattern[0] {
	case '?':
		return pattern[1:], true
	case '[':
		return matchClass(pattern[1:], s[0])
	case '\\':
		if len(pattern) > 1 {
			pattern = pattern[1:]
		}
	}
	return pattern[1:], pattern[0] == s[0]
}

// matchClass matches c against a bracket expression, given after its '['.
// An expression without end matches nothing.
func matchClass(class string, c byte) (rest string, ok bool) {
	negated := class != "" && (class[0] == '!' || class[0] == '^')
	if negated {
		class = class[1:]
	}
	found := false
	for first := true; class != ""; first = false {
		if class[0] == ']' && !first {
			return class[1:], found != negated
		}
		low, high := class[0], class[0]
		class = class[1:]
		if len(class) >= 2 && class[0] == '-' && class[1] != ']' {
			high = class[1]
			class = class[2:]
		}
		found = found || low <= c && c <= high
	}
	return "", false
}
