//! Who may come in: tokens, what they are worth, and the table of who may do what.
//! Never knows a route, a command or a ledger, and never keeps a secret: only its hash.

pub mod grant;
pub mod kept;
pub mod permission;
pub mod sessions;
pub mod token;
