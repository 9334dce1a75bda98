// Package onwindows is the program of a trial inside of Windows: what package inside leaves to the
// system, a service that runs it at each start, and how it gets there.
//
// # Promises
//
// Everything has a limit of time. What fails is a line of the record; neither the record nor the
// shutdown waits for it. Without a disc that holds an order nothing is done, and Windows stays up:
// then it is no start of a trial. While the setup of Windows is at work the service does nothing
// either, since setup restarts by itself.
//
// Drive C is written to in \Troy only. The host volume is never written to: its files are opened to
// see whether they can be, and closed.
//
// # Places
//
//	C:\Troy\GATES.EXE    the program, which the service troytrial starts as "up --service"
//	C:\Troy\stuff\       what fills drive C (inside.Stuff)
//	X:\gates\            test disks; the program leaves result.json there (inside.Disks)
//
// # Known gaps
//
//   - Events are those of the System log, by the names of their providers; other logs of storage
//     are not read. With a clock that is set during the start, events of it may be missed.
//   - Smart App Control and policies that forbid unsigned programs keep this one from running.
package onwindows
