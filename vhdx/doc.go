// Package vhdx reads, writes, creates, converts, merges and checks virtual
// hard disks in the VHDX format (MS-VHDX 8.0).
package vhdx
