package trust

// Names returns what a source says is signed: length and SHA-256 of each name.
func (s *Source) Names() map[string]string {
	names := map[string]string{}
	for name, t := range s.targets {
		names[name] = t.Hashes["sha256"].String()
	}
	return names
}
