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
// Every message carries Protocol. A receiver takes the numbers it knows and refuses others with a
// line that says which program is too old. Members that a receiver does not know are an error, in
// both directions: an order half understood is not followed. So every new member raises Version.
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
