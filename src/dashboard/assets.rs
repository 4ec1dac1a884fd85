//! The stylesheet and the module, as they lie in the binary, under names that change with their content.
//! Never anything from elsewhere: no font, no image, no script of others.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::history;

/// A file that is served as it is.
pub struct Asset {
    text: LazyLock<String>,
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
    text: LazyLock::new(|| include_str!("style.css").to_owned()),
    media: "text/css; charset=utf-8",
    extension: "css",
    name: LazyLock::new(|| name(&STYLE.text, "css")),
};

/// The one module: keeps a page up to date. A browser hears only events whose types it was told.
pub static LIVE: Asset = Asset {
    text: LazyLock::new(|| {
        let types: Vec<String> = history::types().iter().map(|name| format!("\"{name}\"")).collect();
        include_str!("live.js").replacen(
            "const TYPES = [];",
            &format!("const TYPES = [{}];", types.join(", ")),
            1,
        )
    }),
    media: "text/javascript; charset=utf-8",
    extension: "js",
    name: LazyLock::new(|| name(&LIVE.text, "js")),
};

impl Asset {
    /// Where it is: `/assets/<hash>.<extension>`. Another content has another place.
    pub fn path(&self) -> String {
        format!("/assets/{}", *self.name)
    }

    /// Its content and media type.
    pub fn content(&'static self) -> (&'static str, &'static str) {
        (&self.text, self.media)
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
