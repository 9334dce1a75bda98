// Package selfboot keeps the agent on the machine's own ESP, so that a stick or
// the network is needed once, and replaces it there by newer releases.
package selfboot
