// Package prepare makes a Windows into that of a trial: it starts a program of ours that says what
// it finds (package inside).
//
// The Windows of an installation medium gets it by an answer file ([Answer]): a local account
// without a password, all questions of setup answered, and a first logon that runs the script of
// the trial's disc. Nothing in the file is secret.
//
// # Known gaps
//
// No setup of Windows has read such an answer file; its elements are those of Microsoft's
// reference.
package prepare
