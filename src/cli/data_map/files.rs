//! The files of a data directory and what is written beside it, each field with what it is for.
//! Never says more of an entry than that it is there: what entries hold is said where the facts are declared.

use mentorlog_events::processing::{Audience, Field, Handling, Kept, Personal, Purpose, Retention, Subject};

/// A file, or all files of a folder.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its path in the data directory; `<..>` stands for any name, a slash at the end for everything below.
    /// In parentheses: something that is not in the data directory.
    pub path: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What it holds.
    pub fields: &'static [Field],
}

const fn kept(
    purpose: Purpose,
    personal: Personal,
    subject: Subject,
    retention: Retention,
    audience: Audience,
) -> Kept {
    Kept::As(Handling { purpose, personal, subject, retention, audience })
}

/// Entries as they are in the ledgers, in one more place.
const fn entries(purpose: Purpose, retention: Retention, audience: Audience) -> Field {
    Field {
        name: "entries",
        what: "The bytes of entries, as listed under the ledgers.",
        kept: kept(purpose, Personal::Pseudonymous, Subject::Participant, retention, audience),
    }
}

/// Says nothing of a person and is only for the operator.
const fn inner(name: &'static str, what: &'static str, purpose: Purpose, retention: Retention) -> Field {
    Field { name, what, kept: kept(purpose, Personal::None, Subject::Nobody, retention, Audience::Operator) }
}

const fn secret(name: &'static str, what: &'static str, purpose: Purpose) -> Field {
    inner(name, what, purpose, Retention::Installation)
}

/// Under the key of a person that can be destroyed, or that key itself.
const fn sealed(name: &'static str, what: &'static str, subject: Subject, audience: Audience) -> Field {
    let kept = kept(Purpose::Contact, Personal::Sealed, subject, Retention::UntilErased, audience);
    Field { name, what, kept }
}

/// Random ids that are about a person.
const fn id(name: &'static str, what: &'static str, purpose: Purpose, retention: Retention) -> Field {
    let (personal, subject) = (Personal::Pseudonymous, Subject::Participant);
    Field { name, what, kept: kept(purpose, personal, subject, retention, Audience::Operator) }
}

const LEDGER_HEADS: Field =
    inner("heads", "Size and root of every ledger.", Purpose::Recovery, Retention::Ledger);

/// Every file the software keeps.
pub const FILES: &[File] = &[
    File {
        path: "sled/",
        what: "the first copy of every ledger",
        fields: &[
            inner("key", "Ledger and first seq of a value.", Purpose::Proof, Retention::Ledger),
            inner("crc32", "Checksum of key and value.", Purpose::Recovery, Retention::Ledger),
            entries(Purpose::Proof, Retention::Ledger, Audience::Record),
        ],
    },
    File {
        path: "tail/<segment>.tail",
        what: "the second copy of the newest entries",
        fields: &[
            inner(
                "frame",
                "Number, length, checksum; per ledger old and new size and root.",
                Purpose::Recovery,
                Retention::UntilMirrored,
            ),
            entries(Purpose::Recovery, Retention::UntilMirrored, Audience::Operator),
        ],
    },
    File { path: "tail/BASE", what: "what dropped segments vouched for", fields: &[LEDGER_HEADS] },
    File {
        path: "mirror/log/<ledger>/tile/",
        what: "what is published of a ledger: entry bundles and hash tiles",
        fields: &[
            inner("hashes", "Hashes of the Merkle tree.", Purpose::Proof, Retention::Ledger),
            entries(Purpose::Proof, Retention::Ledger, Audience::Record),
        ],
    },
    File {
        path: "mirror/log/<ledger>/checkpoint",
        what: "the newest signed checkpoint of a ledger",
        fields: &[Field {
            name: "note",
            what: "Origin, size, root and signatures.",
            kept: kept(Purpose::Proof, Personal::None, Subject::Nobody, Retention::Ledger, Audience::Program),
        }],
    },
    File {
        path: "reports/<digest>",
        what: "a published report",
        fields: &[Field {
            name: "note",
            what: "Counts of a week, with those of fewer than k people withheld, and signatures.",
            kept: kept(
                Purpose::Exchange,
                Personal::None,
                Subject::Nobody,
                Retention::UntilDeleted,
                Audience::Program,
            ),
        }],
    },
    File {
        path: "keys/idempotency.key",
        what: "the secret behind keyed hashes and imported ids",
        fields: &[
            secret("key", "32 random bytes. Mode 600, backed up apart.", Purpose::Idempotency),
            Field {
                name: "what it confirms",
                what: "Who has it can tell whether a given label was imported, whether a given key was used for a \
                       given request - but for what is sealed -, and which erasure is whose: by trying.",
                kept: kept(
                    Purpose::Idempotency,
                    Personal::Pseudonymous,
                    Subject::Participant,
                    Retention::Installation,
                    Audience::Operator,
                ),
            },
        ],
    },
    File {
        path: "keys/signing.key",
        what: "the secret behind every ledger's signing key",
        fields: &[secret("key", "32 random bytes. Mode 600, backed up apart.", Purpose::Proof)],
    },
    File {
        path: "keys/CHECK",
        what: "which keys those were",
        fields: &[secret("hashes", "SHA-256 of each key file, and a checksum.", Purpose::Recovery)],
    },
    File {
        path: "people/rows.redb",
        what: "the sealed rows: ciphertext only",
        fields: &[
            id("rows.key", "Ledger, event and field of a row.", Purpose::OwnWords, Retention::UntilErased),
            id("about", "Which participants a row is about.", Purpose::Erasure, Retention::UntilErased),
            sealed(
                "rows",
                "Salt and value, encrypted with XChaCha20-Poly1305 under the keys of all it is about.",
                Subject::Pair,
                Audience::Personal,
            ),
            id(
                "erasures",
                "Which participants an erasure is of: what refuses them if an older ledger is restored.",
                Purpose::Erasure,
                Retention::Installation,
            ),
            id(
                "announced",
                "Erasures that a registry knows, and that are never taken back.",
                Purpose::Erasure,
                Retention::Installation,
            ),
            sealed(
                "links",
                "Whom a participant was said to be the same human being as, or not; encrypted under their key.",
                Subject::Participant,
                Audience::Personal,
            ),
            inner(
                "meta",
                "format; installation; epoch and slots of the keyring; leftovers: whether anything was removed.",
                Purpose::Recovery,
                Retention::Installation,
            ),
            sealed(
                "free pages",
                "Rows that were corrected or removed - notes and comments too -, until the file is written anew: at the next \
                 orderly stop or start.",
                Subject::Pair,
                Audience::Operator,
            ),
        ],
    },
    File {
        path: "people/rows.draft",
        what: "the sealed rows while they are written anew; destroyed by the next start",
        fields: &[sealed("rows", "As in rows.redb.", Subject::Pair, Audience::Operator)],
    },
    File {
        path: "people/rows.old",
        what: "the sealed rows of before until they are destroyed, at the latest by the next start",
        fields: &[sealed("rows", "As in rows.redb.", Subject::Pair, Audience::Operator)],
    },
    File {
        path: "people/keyring/<epoch>",
        what: "the keys of persons, under a key the operator keeps elsewhere",
        fields: &[
            secret(
                "epoch key",
                "Encrypted under the operator's key; a new one with each erasure.",
                Purpose::Erasure,
            ),
            sealed(
                "person",
                "Random id, one for each participant; another in each program.",
                Subject::Participant,
                Audience::Operator,
            ),
            sealed(
                "human",
                "Random id, the same for all participants who are known to be one human being.",
                Subject::Participant,
                Audience::Operator,
            ),
            sealed(
                "participant",
                "Program and participant of a key.",
                Subject::Participant,
                Audience::Operator,
            ),
            sealed("key", "32 random bytes, encrypted.", Subject::Participant, Audience::Operator),
        ],
    },
    File {
        path: "people/keyring/<epoch>.draft",
        what: "a keyring that was not finished; destroyed by the next start",
        fields: &[sealed("slots", "As in a keyring.", Subject::Participant, Audience::Operator)],
    },
    File {
        path: "access/tokens",
        what: "what a token is known by",
        fields: &[
            secret("id", "The token's id, as the registry has it.", Purpose::Access),
            secret("hash", "SHA-256 of its secret. The secret itself is nowhere.", Purpose::Access),
            id(
                "participant",
                "The participant a token is bound to.",
                Purpose::Access,
                Retention::Installation,
            ),
        ],
    },
    File {
        path: "INSTALLATION",
        what: "which installation it is",
        fields: &[inner(
            "id",
            "A random id; whether anything was ever appended.",
            Purpose::Recovery,
            Retention::Installation,
        )],
    },
    File {
        path: "CLEAN",
        what: "that the last stop was orderly",
        fields: &[inner(
            "heads",
            "Size and root of every ledger.",
            Purpose::Recovery,
            Retention::UntilNextStart,
        )],
    },
    File {
        path: "LOCK",
        what: "held by the one process that uses the directory",
        fields: &[inner("nothing", "It is empty.", Purpose::Recovery, Retention::Installation)],
    },
    File {
        path: "READ-ONLY",
        what: "that a restored directory is only read",
        fields: &[inner("reason", "What could not be proven.", Purpose::Recovery, Retention::UntilDeleted)],
    },
    File {
        path: "INCOMPLETE",
        what: "that a restore was cut short; such a directory is not served",
        fields: &[inner("reason", "What to do.", Purpose::Recovery, Retention::UntilDeleted)],
    },
    File {
        path: "sled.before-open/",
        what: "the first copy as an unclean stop left it",
        fields: &[entries(Purpose::Recovery, Retention::UntilNextStart, Audience::Operator)],
    },
    File {
        path: "<copy>.rebuilding/",
        what: "a rebuild that was interrupted",
        fields: &[entries(Purpose::Recovery, Retention::UntilNextStart, Audience::Operator)],
    },
    File {
        path: "<name>.damaged-<n>/",
        what: "what a start or a repair moved aside",
        fields: &[entries(Purpose::Recovery, Retention::UntilDeleted, Audience::Operator)],
    },
    File {
        path: "(memory)",
        what: "read models, receipts and decision state, rebuilt from the ledgers at each start",
        fields: &[
            Field {
                name: "read models",
                what: "What the entries add up to; no names, no text.",
                kept: kept(
                    Purpose::Exchange,
                    Personal::Pseudonymous,
                    Subject::Participant,
                    Retention::WhileRunning,
                    Audience::Record,
                ),
            },
            Field {
                name: "sessions",
                what: "Of a browser's session: a hash of its secret, the token it was opened with, and until when.",
                kept: kept(
                    Purpose::Access,
                    Personal::Pseudonymous,
                    Subject::Caller,
                    Retention::Session,
                    Audience::Operator,
                ),
            },
            Field {
                name: "peers",
                what: "Addresses of those who are connected, or were a moment ago (of IPv6 the first 64 bits), to count \
                       connections and requests by.",
                kept: kept(
                    Purpose::Access,
                    Personal::Address,
                    Subject::Caller,
                    Retention::WhileRunning,
                    Audience::Operator,
                ),
            },
            id(
                "receipts",
                "Keyed hashes of idempotency keys, and where the entries of their commands are.",
                Purpose::Idempotency,
                Retention::WhileRunning,
            ),
            Field {
                name: "keys of persons",
                what: "The keyring, opened; a key is zeroed when its person is erased.",
                kept: kept(
                    Purpose::Erasure,
                    Personal::Sealed,
                    Subject::Participant,
                    Retention::WhileRunning,
                    Audience::Operator,
                ),
            },
            Field {
                name: "opened texts",
                what: "What is being sealed or answered, in clear, while the request lasts; freed memory is not zeroed.",
                kept: kept(
                    Purpose::OwnWords,
                    Personal::Sealed,
                    Subject::Pair,
                    Retention::WhileRunning,
                    Audience::Personal,
                ),
            },
        ],
    },
    File {
        path: "(standard error)",
        what: "the service's log",
        fields: &[
            inner(
                "lines",
                "What happened, for the operator; no names, no text of clients, no secrets.",
                Purpose::Recovery,
                Retention::UntilDeleted,
            ),
            Field {
                name: "requests",
                what: "Of each request: method, route, status, time taken, principal and token; a token may be bound to a \
                       participant, and then says what they did and when.",
                kept: kept(
                    Purpose::Accountability,
                    Personal::Pseudonymous,
                    Subject::Caller,
                    Retention::UntilDeleted,
                    Audience::Operator,
                ),
            },
        ],
    },
    File {
        path: "(browser)",
        what: "the cookie of whoever shows a token in a browser",
        fields: &[Field {
            name: "session",
            what: "32 random bytes: the secret of a session, in this browser alone; no script reads it.",
            kept: kept(
                Purpose::Access,
                Personal::Pseudonymous,
                Subject::Caller,
                Retention::Session,
                Audience::Holder,
            ),
        }],
    },
    File {
        path: "(temporary folder)",
        what: "large answers while they are made, copies the doctor looks at, tables an import compares with; removed \
               when that is done",
        fields: &[
            entries(Purpose::Exchange, Retention::Answer, Audience::Operator),
            sealed(
                "rows",
                "As in rows.redb, of a copy the doctor looks at.",
                Subject::Pair,
                Audience::Operator,
            ),
        ],
    },
    File {
        path: "(backup and export)",
        what: "copies the operator makes",
        fields: &[
            entries(Purpose::Recovery, Retention::UntilDeleted, Audience::Operator),
            secret("keys", "Copies of the key files, in a folder of their own.", Purpose::Recovery),
            Field {
                name: "sealed rows",
                what: "Ciphertext of a backup, without what was removed; noise for whoever was erased from all keyrings.",
                kept: kept(
                    Purpose::Recovery,
                    Personal::Sealed,
                    Subject::Pair,
                    Retention::UntilDeleted,
                    Audience::Operator,
                ),
            },
            Field {
                name: "keyring",
                what: "A copy in a folder of its own, where it is asked for: it opens, with the operator's key, whoever \
                       is erased later.",
                kept: kept(
                    Purpose::Recovery,
                    Personal::Sealed,
                    Subject::Participant,
                    Retention::UntilDeleted,
                    Audience::Operator,
                ),
            },
            Field {
                name: "<name>.partial",
                what: "What a backup or restore that was cut short leaves, keys and keyring included, until it is run again.",
                kept: kept(
                    Purpose::Recovery,
                    Personal::Sealed,
                    Subject::Pair,
                    Retention::UntilDeleted,
                    Audience::Operator,
                ),
            },
        ],
    },
];
