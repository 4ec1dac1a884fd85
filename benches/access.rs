//! What looking at a token costs every request: reading its text, one hash, one look-up.
//! Never measures the network.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says so")]

use divan::{Bencher, black_box};
use mentorlog::access::kept::KeptTokens;
use mentorlog::access::token::Token;

fn main() {
    divan::main();
}

/// So many tokens, and the text of one of them.
fn among(others: usize) -> (KeptTokens, String) {
    let kept = KeptTokens::in_memory();
    for _ in 0..others {
        kept.keep(&Token::random(), None, |_| true).unwrap();
    }
    let token = Token::random();
    kept.keep(&token, None, |_| true).unwrap();
    (kept, token.reveal().to_string())
}

#[divan::bench(args = [1, 2000])]
fn a_token_that_is_kept(bencher: Bencher<'_, '_>, others: usize) {
    let (kept, text) = among(others);
    bencher.bench(|| kept.holder(&black_box(&text).parse::<Token>().unwrap()).is_some());
}

#[divan::bench(args = [1, 2000])]
fn a_token_that_is_not(bencher: Bencher<'_, '_>, others: usize) {
    let (kept, _) = among(others);
    let text = Token::random().reveal().to_string();
    bencher.bench(|| kept.holder(&black_box(&text).parse::<Token>().unwrap()).is_none());
}

#[divan::bench(threads = [1, 2])]
fn by_several_at_once(bencher: Bencher<'_, '_>) {
    let (kept, text) = among(100);
    bencher.bench(|| kept.holder(&black_box(&text).parse::<Token>().unwrap()).is_some());
}
