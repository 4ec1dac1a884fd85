//! Rows of a spreadsheet: columns by name, a line number for everything that is wrong.
//! Never stops at a bad row: it is rejected, and the next one is read.

use std::io::{BufRead, BufReader, Read};

/// The table as a whole cannot be read; nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file or pipe failed.
    #[error("reading failed: {0}; nothing was measured")]
    Io(#[from] std::io::Error),
    /// The header or a setting is not what is needed; the text says what to do.
    #[error("{0}")]
    Header(String),
}

/// How many rows came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Tally {
    /// Rows below the header; empty ones are not counted.
    pub rows: u64,
    /// Rows the figures rest on.
    pub measured: u64,
    /// Rows that could not be understood.
    pub rejected: u64,
    /// Rows after `as_of`, which have not happened yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_as_of: Option<u64>,
    /// Rows of disputed and voided sessions, which do not count; `None` where the table does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
}

/// What stands between the cells of a table with this first line: commas, or the semicolons or tabs that spreadsheets
/// write where the comma is the decimal sign.
pub fn delimiter(first: &[u8]) -> Result<u8, String> {
    if first.starts_with(b"\xff\xfe") || first.starts_with(b"\xfe\xff") {
        return Err("the table is UTF-16: save it as \"CSV UTF-8\"".into());
    }
    let others = [b';', b'\t'].into_iter();
    Ok(others.filter(|_| !first.contains(&b',')).find(|other| first.contains(other)).unwrap_or(b','))
}

/// A table with a header.
pub struct Table {
    reader: csv::Reader<Box<dyn BufRead>>,
    header: Vec<String>,
}

/// Where a column stands, and its name for complaints.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    at: usize,
    name: &'static str,
}

impl Column {
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl Table {
    /// Reads the header. Cells are separated by commas, or by the semicolons or tabs that spreadsheets write
    /// where the comma is the decimal sign.
    pub fn open(input: impl Read + 'static) -> Result<Self, Unreadable> {
        let mut input = BufReader::with_capacity(1 << 18, input);
        let mut first = Vec::new();
        input.read_until(b'\n', &mut first)?;
        let delimiter = delimiter(&first).map_err(Unreadable::Header)?;
        // csv counts its lines from here on just the same: the header is one of them.
        let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first).to_vec();
        let input: Box<dyn BufRead> = Box::new(std::io::Cursor::new(first).chain(input).chain(&b"\n"[..]));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            // A row of another length is a bad row, not the end.
            .flexible(true)
            // So that the line counter stands behind the row when it is read, also behind the last one, which
            // gets a line end in any case; the \r is trimmed off the cell.
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(input);
        let header = reader.byte_headers().map_err(of_csv)?;
        let header = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase());
        let header: Vec<String> = header.collect();
        if header.iter().all(String::is_empty) {
            return Err(Unreadable::Header("the table is empty: its first line names the columns".into()));
        }
        Ok(Self { reader, header })
    }

    /// Finds a column. A name that stands in the header twice is ambiguous, and refused.
    pub fn column(&self, name: &'static str) -> Result<Option<Column>, Unreadable> {
        let mut found = (0..self.header.len()).filter(|at| self.header[*at] == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Unreadable::Header(format!(
                "the header has the column `{name}` twice: rename the one that is not meant"
            ))),
            (found, None) => Ok(found.map(|at| Column { at, name })),
        }
    }

    /// What is missing, with what there is and what is wanted.
    pub fn lacks(&self, what: &str, wanted: &str) -> Unreadable {
        Unreadable::Header(format!(
            "the header has no column {what}; it has: {}; wanted are: {wanted}",
            shown(&self.header.join(", "))
        ))
    }

    pub fn has(&self, name: &str) -> bool {
        self.header.iter().any(|column| column == name)
    }

    /// Reads every row. What `take` cannot understand is a sentence that says what is wrong and what to do; it
    /// goes to `reject` with the line the row begins in. Answers the number of rows and of rejected ones.
    pub fn each(
        &mut self,
        reject: &mut dyn FnMut(u64, &str),
        mut take: impl FnMut(&Cells<'_>) -> Result<(), String>,
    ) -> Result<(u64, u64), Unreadable> {
        let (mut rows, mut rejected) = (0, 0);
        let mut record = csv::ByteRecord::new();
        while self.reader.read_byte_record(&mut record).map_err(of_csv)? {
            // Spreadsheets like to leave rows of nothing but separators at the end.
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            rows += 1;
            let taken = if record.len() == self.header.len() {
                take(&Cells(&record))
            } else {
                Err(format!(
                    "the row has {} cells where the header has {}: quote cells that hold the separator",
                    record.len(),
                    self.header.len()
                ))
            };
            if let Err(why) = taken {
                rejected += 1;
                reject(self.line(&record), &why);
            }
        }
        Ok((rows, rejected))
    }

    /// The line the row just read begins in. The counter stands behind it; its own position would be the end
    /// of the row before, with blank lines between still to come.
    fn line(&self, record: &csv::ByteRecord) -> u64 {
        let ends = 1 + record.iter().flatten().filter(|byte| **byte == b'\n').count() as u64;
        self.reader.position().line().saturating_sub(ends).max(1)
    }
}

fn of_csv(error: csv::Error) -> Unreadable {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Unreadable::Io(error),
        other => Unreadable::Header(format!("the table is not CSV: {other:?}")),
    }
}

/// The cells of one row.
pub struct Cells<'a>(&'a csv::ByteRecord);

impl<'a> Cells<'a> {
    /// A cell, without the blanks around it.
    pub fn text(&self, column: Column) -> Result<&'a str, String> {
        let text = std::str::from_utf8(&self.0[column.at])
            .map_err(|_| format!("{} is not UTF-8: save the table as \"CSV UTF-8\"", column.name))?;
        Ok(text.trim())
    }

    /// A cell that may be empty, of a column that may not be there.
    pub fn optional(&self, column: Option<Column>) -> Result<Option<&'a str>, String> {
        Ok(column.map(|column| self.text(column)).transpose()?.filter(|text| !text.is_empty()))
    }

    /// A whole number within bounds.
    pub fn whole(&self, column: Column, least: u32, most: u32) -> Result<u32, String> {
        let text = self.text(column)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| {
            format!("{} `{}` is not a whole number from {least} to {most}", column.name(), shown(text))
        })
    }
}

/// A cell in a complaint: on one line, not too long, and without what a terminal would obey.
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARS_MAX).collect::<String>().escape_debug().to_string();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
