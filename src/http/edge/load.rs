//! How much is under way: requests at work, and requests that wait for something slow.
//! Never makes a request queue: one too many is answered at once that it should come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::counts::Limit;
use super::seats::Seats;
use crate::http::problem::{Code, Problem};

/// What is under way.
pub struct Load {
    working: AtomicUsize,
    waiting: AtomicUsize,
    most: usize,
    seats: Arc<Seats>,
}

impl Load {
    /// At most so many requests are at work, and as many wait; who waits in vain is counted with the connections.
    pub fn new(most: usize, seats: Arc<Seats>) -> Self {
        Self { working: AtomicUsize::new(0), waiting: AtomicUsize::new(0), most, seats }
    }

    /// Most requests at work.
    pub fn most(&self) -> usize {
        self.most
    }

    /// A request is at work until what is returned is dropped.
    pub fn begin(&self) -> Result<Working<'_>, Problem> {
        let before = self.working.fetch_add(1, Ordering::AcqRel);
        let working = Working(self);
        if before < self.most { Ok(working) } else { Err(busy()) }
    }

    /// A request that is at work waits from now on, for its body or for something to happen.
    pub fn wait(&self) -> Result<Waiting<'_>, Problem> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        self.working.fetch_sub(1, Ordering::AcqRel);
        let waiting = Waiting(self);
        if before < self.most {
            return Ok(waiting);
        }
        self.seats.counts().turned_away(Limit::Waits);
        Err(busy())
    }

    /// Requests at work, and requests that wait.
    pub fn now(&self) -> (usize, usize) {
        (self.working.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }
}

fn busy() -> Problem {
    Problem::new(Code::Busy, "too many requests are under way: try again in a moment")
}

/// A request at work.
pub struct Working<'a>(&'a Load);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request that waits: meanwhile it is not at work.
pub struct Waiting<'a>(&'a Load);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_add(1, Ordering::AcqRel);
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::edge::seats::Room;

    #[test]
    fn one_too_many_is_told_so_and_who_waits_makes_room() {
        let load = Load::new(2, Seats::new(Room::default()));
        let first = load.begin().unwrap();
        let second = load.begin().unwrap();
        assert!(load.begin().is_err());
        let waits = load.wait().unwrap();
        let third = load.begin().unwrap();
        assert!(load.begin().is_err());
        let also = load.wait().unwrap();
        assert!(load.wait().is_err(), "so many may wait");
        assert_eq!(load.now(), (1, 2));
        drop((waits, also));
        assert_eq!(load.now(), (3, 0), "who comes back from waiting is not turned away");
        drop((first, second, third));
        assert_eq!(load.now(), (0, 0));
    }
}
