//! How many files this process may have open.
//! Never lowers a limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit so that `wanted` files can be open, or as many as the hard limit allows. Returns how many can.
pub fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None: there is no limit.
    let Some(current) = current else { return u64::MAX };
    if current >= wanted {
        return current;
    }
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted)).max(current);
    let limit = Rlimit { current: Some(raised), maximum };
    setrlimit(Resource::Nofile, limit).map_or(current, |()| raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes_and_never_lowered() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(raise(1), before);
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(raise(u64::from(u32::MAX)) <= most.max(before));
        assert!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) >= before);
    }
}
