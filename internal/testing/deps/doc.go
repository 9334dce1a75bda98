// Package deps holds the rules of the house as tests: which package may import which, and why.
//
// The tests ask the go command for the imports of every package and check them against a list of
// rules. Each rule says its reason in words; the reason is part of the failure, so that the person
// who broke the rule can judge whether the change or the rule is wrong. A rule that names a package
// which no longer exists fails, because it would never find anything again.
package deps
