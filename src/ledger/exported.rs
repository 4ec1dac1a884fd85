//! An exported ledger: a file of entries, one a line, read as a log.
//! Never appends, and never looks into a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Record};

use super::{Append, AppendError, Log, Outcome, ReadError};

/// Lines between two remembered positions: 8 bytes of memory for each so many entries.
const STEP: u64 = 1024;

/// The entries of one ledger in a file. Reading is shared: every thread reads where it needs to.
#[derive(Debug)]
pub struct Exported {
    ledger: LedgerId,
    file: File,
    /// Where line 0, [`STEP`], 2 [`STEP`]... begins, and where the last line ends.
    starts: Vec<u64>,
    size: u64,
}

impl Exported {
    /// Finds the lines of a file; nothing of it is kept in memory. A last line without its end is an error:
    /// the file was cut off.
    pub fn open(ledger: LedgerId, file: File) -> io::Result<Self> {
        let mut starts = vec![0];
        let (mut size, mut position) = (0_u64, 0_u64);
        let mut whole = true;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        loop {
            let block = reader.fill_buf()?;
            let Some(last) = block.last() else { break };
            whole = *last == b'\n';
            for (index, _) in block.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                size += 1;
                if size.is_multiple_of(STEP) {
                    starts.push(position + index as u64 + 1);
                }
            }
            let length = block.len();
            position += length as u64;
            reader.consume(length);
        }
        if !whole {
            let text = format!("it is cut off in the middle of line {}", size + 1);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        if starts.last() != Some(&position) {
            starts.push(position);
        }
        Ok(Self { ledger, file, starts, size })
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Log for Exported {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let end = self.size.min(from.saturating_add(limit as u64));
        if ledger != self.ledger || from >= end {
            return Ok(Vec::new());
        }
        let damaged = |detail: &dyn std::fmt::Display| ReadError::Damaged {
            ledger,
            seq: from,
            detail: detail.to_string(),
        };
        let index = |step: u64| usize::try_from(step).expect("positions in memory fit its index");
        let first = from / STEP;
        let (start, stop) = (self.starts[index(first)], self.starts[index(end.div_ceil(STEP))]);
        let length = stop - start;
        if length > (end.div_ceil(STEP) - first) * STEP * (ENTRY_BYTES_MAX as u64 + 1) {
            return Err(damaged(&"its lines are longer than entries can be"));
        }
        let mut bytes = vec![0; index(length)];
        self.file.read_exact_at(&mut bytes, start).map_err(|error| damaged(&error))?;
        let bytes = Bytes::from(bytes);
        let mut records = Vec::with_capacity(index(end - from));
        let (mut seq, mut begin) = (first * STEP, 0);
        for (stop, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            if (from..end).contains(&seq) {
                records.push(Record::stored(bytes.slice(begin..stop)));
            }
            (seq, begin) = (seq + 1, stop + 1);
        }
        // The file shrank or changed since its lines were found.
        if records.len() as u64 == end - from { Ok(records) } else { Err(damaged(&"the file has changed")) }
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        let refused = || Outcome::Unknown(AppendError::Stopped("an exported file is only read".into()));
        appends.iter().map(|_| refused()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn exported(text: &str) -> io::Result<Exported> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        // The position of a shared descriptor: what was written is read from the start.
        file.rewind().unwrap();
        Exported::open(LedgerId::REGISTRY, file)
    }

    #[test]
    fn every_range_of_lines_is_read_as_it_stands() {
        for count in [0_u64, 1, 2, 1023, 1024, 1025, 3000] {
            let lines: Vec<String> = (0..count).map(|n| format!("{{\"seq\":{n}}}")).collect();
            let log = exported(&lines.iter().fold(String::new(), |text, line| text + line + "\n")).unwrap();
            assert_eq!(log.size(), count);
            for (from, limit) in [(0, 1), (0, 5000), (1, 1), (1022, 3), (1024, 1024), (2999, 2), (5000, 1)] {
                let read = log.read(LedgerId::REGISTRY, from, limit).unwrap();
                let read: Vec<String> = read.iter().map(|record| format!("{record:?}")).collect();
                let skip = usize::try_from(from).unwrap();
                let wanted: Vec<String> = lines.iter().skip(skip).take(limit).cloned().collect();
                assert_eq!(read, wanted, "{count} lines from {from}, {limit}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_off_is_not_taken_for_a_whole_one() {
        let error = exported("{\"seq\":0}\n{\"se").unwrap_err();
        assert_eq!(error.to_string(), "it is cut off in the middle of line 2");
    }

    #[test]
    fn other_ledgers_are_empty_and_nothing_is_appended() {
        let log = exported("a\n").unwrap();
        assert!(log.read(LedgerId(uuid::Uuid::nil()), 0, 1).unwrap().is_empty());
        let append = Append { ledger: LedgerId::REGISTRY, expected_size: 1, records: vec![], root: [0; 32] };
        assert!(matches!(log.append(&[append])[..], [Outcome::Unknown(AppendError::Stopped(_))]));
    }
}
