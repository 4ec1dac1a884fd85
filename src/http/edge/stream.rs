//! A connection's bytes: what was read to tell the protocols apart comes first again, and slowness is noted.
//! Never waits: whoever is too slow is told so by the sweep.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::heads::HEAD_BYTES_MAX;
use super::seats::Seat;

/// How a connection of HTTP/2 with prior knowledge begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, or nonsense: the library answers both.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Whether these bytes end with a head's end, or have it near their end: from `from` on.
fn has_head_end(read: &[u8], from: usize) -> bool {
    let new = &read[from.saturating_sub(3)..];
    new.windows(4).any(|four| four == b"\r\n\r\n") || new.windows(2).any(|two| two == b"\n\n")
}

/// Reads until the first bytes say what the client speaks, and of HTTP/1.1 until the first head is there: what serves a
/// connection takes ten times the memory of one whose head dribbles in. The bytes are read again by whoever serves it.
/// `None`: it hung up. Has no time limit of its own: nothing is under way on the seat, so the sweep ends it.
pub async fn tell_apart(mut stream: TcpStream, seat: &Arc<Seat>) -> Option<(Protocol, Stream)> {
    let (mut read, mut seen) = (Vec::new(), 0);
    let protocol = loop {
        let mut some = [0_u8; 512];
        let count = stream.read(&mut some).await.ok().filter(|count| *count > 0)?;
        seat.heard();
        read.extend_from_slice(&some[..count]);
        let common = read.len().min(PREFACE.len());
        if read[..common] != PREFACE[..common] {
            seat.head().see(&read[seen..]);
            // Nonsense, e.g. TLS, is answered at once, and so is too much.
            let is_nonsense = !read[0].is_ascii_alphabetic();
            if is_nonsense || has_head_end(&read, seen) || read.len() >= HEAD_BYTES_MAX as usize {
                break Protocol::Http1;
            }
            seen = read.len();
        } else if common == PREFACE.len() {
            break Protocol::Http2;
        }
    };
    let inner = TokioIo::new(stream);
    let scans = protocol == Protocol::Http1;
    Some((protocol, Stream { inner, first: read.into(), seat: seat.clone(), scans }))
}

/// The bytes of one connection.
pub struct Stream {
    inner: TokioIo<TcpStream>,
    first: Bytes,
    seat: Arc<Seat>,
    /// Whether heads go by in plain text.
    scans: bool,
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(into.remaining());
            into.put_slice(&self.first[..count]);
            self.first.advance(count);
            return Poll::Ready(Ok(()));
        }
        if !self.scans || !self.seat.is_between() {
            return Pin::new(&mut self.inner).poll_read(context, into);
        }
        // By way of a buffer of our own: what the library's buffer holds cannot be looked at without unsafe code.
        let mut some = [0_u8; 4096];
        let length = some.len().min(into.remaining());
        let mut buffer = tokio::io::ReadBuf::new(&mut some[..length]);
        ready!(tokio::io::AsyncRead::poll_read(Pin::new(self.inner.inner_mut()), context, &mut buffer))?;
        let read = buffer.filled();
        if !read.is_empty() {
            self.seat.heard();
            self.seat.head().see(read);
        }
        into.put_slice(read);
        Poll::Ready(Ok(()))
    }
}

/// How long somebody who is not listened to any more may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What it may send meanwhile, in bytes.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Ends a connection whose other side may still be sending: closing on what was not read would throw away what was
/// written last (RFC 9112, section 9.6).
pub async fn linger(stream: &mut TcpStream) {
    let unread = async {
        stream.shutdown().await?;
        // Not an array: it would be a part of every connection's state from its beginning on.
        let (mut some, mut all) = (vec![0; 4096], 0);
        while all < LINGER_BYTES {
            match stream.read(&mut some).await? {
                0 => break,
                count => all += count,
            }
        }
        Ok::<(), io::Error>(())
    };
    // Whether it was heard makes no difference.
    let _ = tokio::time::timeout(LINGER, unread).await;
}

impl Stream {
    /// Ends it so that the last answer can be read.
    pub async fn linger(&mut self) {
        linger(self.inner.inner_mut()).await;
    }

    fn note(&self, offered: usize, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.seat.blocked(),
            Poll::Ready(Ok(taken)) => self.seat.took(*taken, offered),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(bytes.len(), &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.note(parts.iter().map(|part| part.len()).sum(), &written);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_in_whatever_pieces_it_comes() {
        let head = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for cut in 0..head.len() {
            assert!(!has_head_end(&head[..cut], 0), "{cut}");
            assert!(has_head_end(head, cut), "{cut}");
        }
        assert!(has_head_end(b"GET / HTTP/1.1\n\n", 15));
        assert!(!has_head_end(b"GET / HTTP/1.1\r\nhost: x\r\n", 0));
    }
}
