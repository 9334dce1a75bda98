package trust

// Names returns what a source says is signed: length and SHA-256 of each name.
func (s *Source) Names() map[string]string {
	names := map[string]string{}
	for name, t := range s.targets {
		names[name] = t.Hashes["sha256"].String()
	}
	return names
}

// ParseDocument parses the documents of the agent's releases and of orders.
func ParseDocument(which int, b []byte) (any, error) {
	switch which {
	case 0:
		return parseOrder(b, "pc")
	case 1:
		return parseWipes(b)
	}
	return parseRelease(b)
}

// EncodeRelease spells a release as the store does.
func EncodeRelease(a *AgentRelease) ([]byte, error) { return a.encode() }
