// Package kmod reads the kernel modules of a lib/modules/VERSION folder and
// works out what a chosen few of them need.
//
// A kernel package that was unpacked but never installed has no modules.dep:
// depmod writes it at installation. So the dependencies are taken from where
// depmod takes them, the .modinfo section of each module (keys name, depends,
// softdep, alias, vermagic), and the three index files that kmod(8) programs
// expect are written for the chosen modules alone.
//
// # Promises
//
//   - [Index.Closure] returns every module that the named ones depend on,
//     directly or not, each once, each after all that it depends on, and the
//     same for the same input whatever the order of the folder.
//   - A module's content is handed out decompressed (.xz, .zst, .gz) and
//     otherwise untouched, so that a signature at its end stays valid.
//   - A hard dependency that is neither in the folder nor built into the kernel
//     is an error ([ErrNotFound]). A soft one ("softdep pre:") that the folder
//     lacks is left out: that is what soft means.
//
// # Formats
//
// modules.dep, modules.alias and modules.softdep as in modules.dep(5) and
// modprobe.d(5): text, one record a line. Paths in modules.dep are relative to
// lib/modules/VERSION and each line names all dependencies of a module, direct
// or not, nearest first.
//
// # Known gaps
//
// "softdep post:" and "weakdep:" are not followed. A soft dependency that names
// an alias (crypto-crc32c) and not a module is not looked up: it would mean
// to decompress all 4000 modules.
package kmod
