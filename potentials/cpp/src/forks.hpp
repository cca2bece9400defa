// Notices that a process is the forked child of the one that made an object.
#pragma once

namespace forcemap {

/// How many forks lie between this process and the one that loaded the library. An object made at
/// another count belongs to a parent: its threads do not run here, and what another thread was
/// changing or had locked at the fork stays half changed and locked for ever.
unsigned long fork_count();

}  // namespace forcemap
