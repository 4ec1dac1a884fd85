//! The two ways in which things are counted: in or out of a count, from A to B or from B to A.
//! Never holds a count.

/// A count goes up or down. Ups and downs match one for one, so that nothing ever wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    In,
    Out,
}

impl Turn {
    pub(crate) fn step(self, count: &mut u64, by: u64) {
        *count = match self {
            Self::In => count.wrapping_add(by),
            Self::Out => count.wrapping_sub(by),
        };
    }

    pub(crate) fn step_small(self, count: &mut u32) {
        *count = match self {
            Self::In => count.wrapping_add(1),
            Self::Out => count.wrapping_sub(1),
        };
    }
}

/// One of the two of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}
