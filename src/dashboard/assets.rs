//! The stylesheet and the module, as they lie in the binary, under names that change with their content.
//! Never anything from elsewhere: no font, no image, no script of others.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// A file that is served as it is.
pub struct Asset {
    text: &'static str,
    media: &'static str,
    extension: &'static str,
    name: LazyLock<String>,
}

fn name(text: &str, extension: &str) -> String {
    use std::fmt::Write as _;
    let hash = Sha256::digest(text.as_bytes());
    let mut name = String::new();
    for byte in &hash[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    format!("{name}.{extension}")
}

/// The one stylesheet.
pub static STYLE: Asset = Asset {
    text: include_str!("style.css"),
    media: "text/css; charset=utf-8",
    extension: "css",
    name: LazyLock::new(|| name(include_str!("style.css"), "css")),
};

/// The one module: keeps a page up to date.
pub static LIVE: Asset = Asset {
    text: include_str!("live.js"),
    media: "text/javascript; charset=utf-8",
    extension: "js",
    name: LazyLock::new(|| name(include_str!("live.js"), "js")),
};

impl Asset {
    /// Where it is: `/assets/<hash>.<extension>`. Another content has another place.
    pub fn path(&self) -> String {
        format!("/assets/{}", *self.name)
    }

    /// Its content and media type.
    pub fn content(&self) -> (&'static str, &'static str) {
        (self.text, self.media)
    }

    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        [&STYLE, &LIVE].into_iter().find(|asset| *asset.name == name)
    }

    /// Its extension.
    pub fn extension(&self) -> &'static str {
        self.extension
    }
}
