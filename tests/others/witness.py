"""Tells a witness lies that only the holder of a log's key can tell, and expects it to refuse each of them.

    witness.py WITNESS_URL LOG ORIGIN DATA_DIR

The log at LOG has been cosigned by the witness. The lies are signed with its real key, made here as the service makes
it: HKDF-SHA256(DATA_DIR/keys/signing.key, salt "mentorlog/signing/v1", info origin "\\n" number of the key).
"""

import base64
import sys
import urllib.error
import urllib.request
from pathlib import Path

import aics_tlog as aics
from aics_tlog.note import parse_note, vkey_from_ed25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def tell(witness: str, old: int, size: int, root: bytes, proof: list[bytes]) -> tuple[int, str]:
    note = aics.sign_checkpoint(aics.Checkpoint(origin, size, root), key, origin)
    lines = [f"old {old}"] + [base64.b64encode(node).decode() for node in proof]
    body = ("\n".join(lines) + "\n\n").encode() + note.to_bytes()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{witness}/add-checkpoint", body)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def expect(what: str, answer: tuple[int, str], status: int, body: str | None = None) -> None:
    if answer[0] != status or body not in (None, answer[1]):
        sys.exit(f"{what}: expected {status} {body or ''}, the witness answered {answer}")
    print(f"{what}: {status}, as it should")


witness, log, origin, data = sys.argv[1:]
seed = HKDF(SHA256(), 32, b"mentorlog/signing/v1", f"{origin}\n1".encode())
key = Ed25519PrivateKey.from_private_bytes(seed.derive((Path(data) / "keys/signing.key").read_bytes()))
with urllib.request.urlopen(f"{log}/checkpoint") as answer:
    note = parse_note(answer.read())
head = aics.verify_checkpoint(note, vkey_from_ed25519(origin, key.public_key()))
if not head.ok:
    sys.exit(f"the key made here is not the log's: {head.error}")
tiles = aics.VerifiedTileReader(aics.HttpTileReader([log]), head.size, head.root)
before = aics.MerkleTree([tiles.entry(index) for index in range(head.size - 1)])
expect("the same size with another root", tell(witness, head.size, head.size, b"\x01" * 32, []), 422)
expect("a longer log that began otherwise", tell(witness, head.size, head.size + 1, b"\x01" * 32, [b"\x02" * 32]), 422)
truncated = tell(witness, head.size - 1, head.size - 1, before.root(), [])
expect("a log cut back by one entry", truncated, 409, f"{head.size}\n")
