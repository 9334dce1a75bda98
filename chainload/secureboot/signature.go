package secureboot

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
)

// certificates cuts the directory of signatures into those of type WIN_CERT_TYPE_PKCS_SIGNED_DATA.
func certificates(b []byte) (all [][]byte) {
	const header, pkcs7 = 8, 2
	for len(b) >= header {
		size := int64(binary.LittleEndian.Uint32(b))
		if size < header || size > int64(len(b)) {
			return all
		}
		if binary.LittleEndian.Uint16(b[6:]) == pkcs7 {
			all = append(all, b[header:size])
		}
		b = b[min(int64(len(b)), (size+7)&^7):]
	}
	return all
}

// signed is what one signature says.
type signed struct {
	digest  []byte // of the program
	issuers []string
}

// The part of CMS (RFC 5652) and Authenticode that is read.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      asn1.RawValue
		Content      contentInfo
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      asn1.RawValue
	}
	signerInfo struct {
		Version int
		By      struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}
	}
	indirectData struct {
		Data   asn1.RawValue
		Digest struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
	}
)

// maxChain bounds the issuers of one signature.
const maxChain = 8

func parseSignature(der []byte) (*signed, error) {
	var outer contentInfo
	var data signedData
	var indirect indirectData
	var signer signerInfo
	for _, part := range []struct {
		from func() []byte
		to   any
	}{
		{func() []byte { return der }, &outer},
		{func() []byte { return outer.Content.Bytes }, &data},
		{func() []byte { return data.Content.Content.Bytes }, &indirect},
		{func() []byte { return data.Signers.Bytes }, &signer},
	} {
		if _, err := asn1.Unmarshal(part.from(), part.to); err != nil {
			return nil, fmt.Errorf("signature: %w", err)
		}
	}
	s := &signed{digest: indirect.Digest.Digest}
	known := parseCertificates(data.Certificates.Bytes)
	for next := signer.By.Issuer.FullBytes; len(s.issuers) < maxChain; {
		s.issuers = append(s.issuers, commonName(next))
		up := known[string(next)]
		if up == nil || bytes.Equal(up.RawIssuer, next) {
			break
		}
		next = up.RawIssuer
	}
	return s, nil
}

// parseCertificates reads those of a signature, by subject; what cannot be read is left out.
func parseCertificates(b []byte) map[string]*x509.Certificate {
	all := map[string]*x509.Certificate{}
	for len(b) > 0 {
		var one asn1.RawValue
		rest, err := asn1.Unmarshal(b, &one)
		if err != nil {
			break
		}
		if c, err := x509.ParseCertificate(one.FullBytes); err == nil {
			all[string(c.RawSubject)] = c
		}
		b = rest
	}
	return all
}

// commonName is that of a distinguished name, or all of it where it has none.
func commonName(der []byte) string {
	var rdn pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &rdn); err != nil {
		return ""
	}
	var n pkix.Name
	n.FillFromRDNSequence(&rdn)
	return nameOf(n)
}

func nameOf(n pkix.Name) string {
	if n.CommonName != "" {
		return n.CommonName
	}
	return n.String()
}
