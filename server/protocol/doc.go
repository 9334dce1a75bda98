// Package protocol holds what the agent and the server say to each other, as JSON over HTTP. It
// holds types and their checks only, and imports no other room.
//
//	POST /v1/checkin   CheckIn  → Order    what should this machine do?
//	POST /v1/progress  Progress → Ack      how far it is (may be lost)
//	POST /v1/report    Report   → Ack      this is what it did
//
// docs/check-in.md describes every member with its bounds, the status codes and an example of each
// message, for those who write another agent. A test holds it against these types.
//
// # Versions
//
// The check-in offers the protocols that the agent speaks, and the order is in the highest that the
// server speaks, too (CheckIn.Common, Order.For). What a server and an agent understand of each other
// without one is in the messages of every protocol: an agent that is too old gets by it the release
// of itself that is not. Unknown members are ignored, in both directions. An order that must not be
// followed by an agent that ignores something in it needs a word (package internal/format): an agent
// that does not know the word starts what it has, and says why (ReadOrder).
//
// # Repeats
//
// Either message may arrive twice (the answer was lost, the agent asked again). A check-in only
// asks. A report carries the ID its sender drew; one that is known already is acknowledged again
// and not counted again.
//
// # Trust
//
// Every member is a claim. Text is bounded by Validate and still has to be escaped where it is
// shown. The order says which image and version; that these bytes are the published ones is for the
// signed metadata and the chunk hashes to prove. What a false server could do harm with is not
// taken from an order alone: going back to an older version, and wiping a disk that holds
// something, need the admin's signature (package image/trust).
package protocol
