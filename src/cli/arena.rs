//! How much memory glibc's malloc keeps beside what is in use: one arena for all threads, instead of one for each.
//! Never overrides what somebody has set, and never keeps a command from running.
//!
//! What a thread gave back to its own arena is not there for the others: a million events took up to 646 MiB with an
//! arena for each thread and 399 MiB with one (`.ci/memory`). malloc reads the variable before `main` begins, and changing
//! it afterwards takes a call that is not safe to make; so the process begins anew, once, as the same process.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

/// malloc(3), mallopt(3).
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// The newer way to say the same, among other things.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Set in a process that was begun anew: the loader takes malloc's variables from a program with capabilities of its own
/// (ld.so(8), "secure-execution mode"), which must not begin anew for ever.
const BEGUN: &str = "MENTORLOG_BEGUN_ANEW";

/// Begins the process anew with one arena, unless it was begun so already or somebody has decided otherwise. Returns where
/// there is nothing to do, or where it cannot be done. Before anything else: what is open is open no more.
pub fn one_arena() {
    // Other libraries have no arenas, and do not read the variable.
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return;
    }
    if std::env::var_os(BEGUN).is_some() {
        return;
    }
    if is_decided(std::env::var_os(ARENAS).as_deref(), std::env::var_os(TUNABLES).as_deref()) {
        return;
    }
    let Err(error) = begin_anew();
    tracing::debug!(%error, "malloc keeps an arena for each thread");
}

fn is_decided(arenas: Option<&OsStr>, tunables: Option<&OsStr>) -> bool {
    arenas.is_some() || tunables.is_some_and(|text| text.to_string_lossy().contains("glibc.malloc.arena_max"))
}

fn begin_anew() -> Result<Infallible, std::io::Error> {
    // By its path, not as /proc/self/exe: the name of the process is made of it.
    let program = std::env::current_exe()?;
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    // A loader that was told to load this program would be begun anew in its place.
    let ours = [Path::new(&called).file_name(), Some(OsStr::new(env!("CARGO_PKG_NAME")))];
    if !ours.contains(&program.file_name()) {
        return Err(std::io::Error::other(format!("{} is not this program", program.display())));
    }
    Err(std::process::Command::new(program)
        .arg0(called)
        .args(arguments)
        .env(ARENAS, "1")
        .env(BEGUN, "1")
        .exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_set_is_left_alone() {
        let is_decided = |arenas: Option<&str>, tunables: Option<&str>| {
            is_decided(arenas.map(OsStr::new), tunables.map(OsStr::new))
        };
        assert!(!is_decided(None, None));
        assert!(!is_decided(None, Some("glibc.malloc.check=1")));
        assert!(is_decided(Some("1"), None) && is_decided(Some("8"), None) && is_decided(Some(""), None));
        assert!(is_decided(None, Some("glibc.malloc.check=1:glibc.malloc.arena_max=4")));
    }
}
