"""Verifies a mentorlog ledger with two Python packages that know nothing of mentorlog: tlog-scales and aics-tlog.

    verify.py LOG VKEY [--cosigned-by VKEY] [--earlier CHECKPOINT_FILE]

LOG is the prefix of the log: a directory or an http URL. Each package that is installed checks the checkpoint's
signature, the root over every tile and entry, and proofs; one that is missing is named and passed over.
Any doubt ends it with status 1.
"""

import argparse
import random
import sys
import urllib.request
from pathlib import Path

SAMPLES = 100


def read(log: str, path: str) -> bytes:
    if not log.startswith("http://"):
        return (Path(log) / path).read_bytes()
    with urllib.request.urlopen(f"{log}/{path}") as answer:
        return answer.read()


def tlog_scales(log: str, vkey: str, cosigned_by: str | None, earlier: bytes | None) -> str:
    from tlog_scales import backend, reader, signing, tiles, tlog

    tree = reader.TilesReader(backend.make_backend(log))
    checkpoint = tree.get_checkpoint()
    checkpoint.verify(signing.Vkey.from_string(vkey))
    if cosigned_by:
        checkpoint.verify(signing.Vkey.from_string(cosigned_by))
    size, root = checkpoint.size, checkpoint.root_hash
    assert tree.calculate_root_hash() == root, "the tiles have another root"
    chance = random.Random(1)
    for index in [0, size - 1] + [chance.randrange(size) for _ in range(SAMPLES)]:
        leaf = tiles.leaf_hash(tree.get_entry(index))
        tree.get_inclusion_proof(index, size).check(leaf, root)
    for old in [1, size] + [chance.randrange(1, size + 1) for _ in range(SAMPLES)]:
        tree.get_consistency_proof(old, size).check(tree.mth(0, old), root)
    if earlier:
        before = tlog.Checkpoint.from_text(earlier.decode())
        before.verify(signing.Vkey.from_string(vkey))
        tree.get_consistency_proof(before.size, size).check(before.root_hash, root)
    return f"{size} entries, root {root.hex()}, {SAMPLES} proofs of each kind"


def aics_tlog(log: str, vkey: str, cosigned_by: str | None, earlier: bytes | None) -> str:
    import aics_tlog as aics
    from aics_tlog.note import parse_note, parse_vkey

    key = parse_vkey(vkey)
    witnesses = [parse_vkey(cosigned_by)] if cosigned_by else []
    result = aics.verify_checkpoint(
        parse_note(read(log, "checkpoint")), key, witnesses, quorum=len(witnesses), expected_origin=key.name
    )
    assert result.ok, result.error
    size, root = result.size, result.root
    tiles = aics.HttpTileReader([log]) if log.startswith("http://") else aics.DirectoryTileStore(log)
    aics.audit_tiles(tiles, size, root)
    # And once more without any tile: every entry hashed into a tree of its own.
    verified = aics.VerifiedTileReader(tiles, size, root)
    tree = aics.MerkleTree([verified.entry(index) for index in range(size)])
    assert tree.root() == root, "the entries hash to another root"
    if earlier:
        before = aics.verify_checkpoint(parse_note(earlier), key)
        assert before.ok, before.error
        proof = aics.consistency_proof_from_tiles(verified, before.size, size)
        assert aics.verify_consistency(before.size, size, before.root, root, proof), "the log was not only appended to"
    return f"{size} entries, every tile and bundle, root {root.hex()}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("log")
    arguments.add_argument("vkey")
    arguments.add_argument("--cosigned-by")
    arguments.add_argument("--earlier", type=Path)
    given = arguments.parse_args()
    earlier = given.earlier.read_bytes() if given.earlier else None
    checked = 0
    for check in (tlog_scales, aics_tlog):
        name = check.__name__.replace("_", "-")
        try:
            print(f"{name}: {check(given.log, given.vkey, given.cosigned_by, earlier)}")
            checked += 1
        except ModuleNotFoundError as missing:
            print(f"{name}: not installed here ({missing}), not asked", file=sys.stderr)
    sys.exit(0 if checked else "none of the packages is installed")


if __name__ == "__main__":
    main()
