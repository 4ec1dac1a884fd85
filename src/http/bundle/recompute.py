#!/usr/bin/env python3
"""Recomputes the headline measures of a mentorlog bundle, and checks what they rest on.

Standard library only, Python 3.9 or newer, no code of mentorlog's: a second opinion.
    python3 recompute.py [--vkey VKEY] [--as-of DAY] [--size N] [BUNDLE]

It verifies the checkpoint's Ed25519 signature (RFC 8032), hashes every entry, compares the root (RFC 6962), and
folds the entries into
    r_w              sum over pairs of 2 min(w_ij, w_ji) / W, w_ij the minutes i taught j in sessions that count
    two_way_share    pairs in which each taught the other, among pairs with minutes
    survival         Kaplan-Meier of pairs at 30, 90, 180 and 365 days, by record and by activity
of the ledger's first N entries (default: all) as of the close of DAY (default: the day of the last of them).
It does not check the registry, earlier checkpoints or witnesses: `mentorlog verify` does.
Exit codes: 0 fine, 2 usage, 10 unreadable, 11 bad signature, 12 unknown key, 13 other entries than signed.
"""
import argparse, base64, hashlib, json, sys
from datetime import date, timedelta
from pathlib import Path


def die(code, text):
    print(f"recompute.py: {text}", file=sys.stderr)
    sys.exit(code)


# --- Ed25519, RFC 8032 section 5.1.7 (verification needs no secrets, so nothing here is constant-time) ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - xx) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point(encoded):
    y = int.from_bytes(encoded, "little")
    x = recover_x(y & ((1 << 255) - 1), y >> 255)
    return None if x is None else (x, y & ((1 << 255) - 1), 1, x * (y & ((1 << 255) - 1)) % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = add(q, p)
        p, n = add(p, p), n >> 1
    return q


def signed(public, message, signature):
    key, r, s = point(public), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or key is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    base_y = 4 * pow(5, P - 2, P) % P
    one, other = times(s, point(base_y.to_bytes(32, "little"))), add(r, times(k, key))
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 and (one[1] * other[2] - other[1] * one[2]) % P == 0


# --- the log: C2SP signed-note, tlog-checkpoint, tlog-tiles ---

def checkpoint(bundle, vkey):
    text, _, lines = (bundle / "checkpoint").read_text("utf-8").rpartition("\n\n")
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key)
    if name != origin or key[0] != 1 or hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] != key_id:
        die(12, f"{vkey} is not an Ed25519 vkey of {origin}")
    for line in lines.splitlines():
        _, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if signer == name and signature[:4].hex() == key_id:
            if not signed(key[1:], text.encode(), signature[4:]):
                die(11, f"the signature of {signer} is not valid")
            return origin, int(size), base64.b64decode(root)
    die(12, f"{vkey} has not signed the checkpoint")


def bundle_path(bundle, index, width):
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    full = bundle.joinpath("tile", "entries", *groups)
    partial = full.parent / (full.name + ".p") / str(width)
    return partial if width < 256 and partial.exists() else full


def entries(bundle, size):
    for first in range(0, size, 256):
        width = min(256, size - first)
        data, at = bundle_path(bundle, first // 256, width).read_bytes(), 0
        for seq in range(first, first + width):
            length = int.from_bytes(data[at:at + 2], "big")
            entry = data[at + 2:at + 2 + length]
            if length == 0 or len(entry) < length:
                die(13, f"the bundle breaks off before seq {seq}")
            yield entry
            at += 2 + length


class Tree:
    """Roots of the perfect subtrees so far, largest first: RFC 6962 section 2.1."""

    def __init__(self):
        self.size, self.nodes = 0, []

    def push(self, entry):
        node, bits = hashlib.sha256(b"\0" + entry).digest(), self.size
        while bits & 1:
            node, bits = hashlib.sha256(b"\1" + self.nodes.pop() + node).digest(), bits >> 1
        self.nodes.append(node)
        self.size += 1

    def root(self):
        if not self.nodes:
            return hashlib.sha256().digest()
        node = self.nodes[-1]
        for left in reversed(self.nodes[:-1]):
            node = hashlib.sha256(b"\1" + left + node).digest()
        return node


# --- what the entries add up to ---

PLANNED = {"goals-met", "term-completed", "redefined-as-peers"}
EARLY = {"time-constraints", "lost-contact", "mismatch-values", "mismatch-skills", "distancing",
         "lack-of-expertise", "mutual-no-fit", "withheld",
         "role-or-location-change", "left-program", "left-organisation"}
CENSORED = {"program-closed", "manager-decision", "data-erasure"}


class Program:
    def __init__(self):
        self.pairs, self.sessions, self.measures, self.archived = {}, {}, [], None

    def apply(self, entry):
        kind, data = entry["type"], entry["data"]
        if kind in ("program-opened", "policy-changed"):
            if "measures" in data:
                self.measures.append((entry["day"], data["measures"]))
        elif kind == "program-archived":
            self.archived = entry["day"]
        elif kind in ("pair-proposed", "pair-imported"):
            pair = {"people": (data["a"], data["b"]), "start": None, "end": None}
            if kind == "pair-imported":
                pair["start"] = (data["started_at"], data["started_day"])
            self.pairs[data["pair"]] = pair
        elif kind == "pair-activated":
            self.pairs[data["pair"]]["start"] = (entry["recorded_at"], entry["day"])
        elif kind == "pair-ended":
            self.pairs[data["pair"]]["end"] = (data["day"], data["reason"])
        elif kind == "session-logged":
            self.sessions[data["session"]] = dict(data, state="live")
        elif kind in ("session-corrected", "session-disputed", "dispute-resolved", "session-voided"):
            session = self.sessions[data["session"]]
            if session["state"] != "voided":
                session["state"] = {"session-disputed": "disputed", "session-voided": "voided"}.get(kind, "live")
                if kind == "session-corrected":
                    session.update({name: data[name] for name in ("occurred_at", "day", "exchanges")})

    def counting(self, until=None):
        """Sessions that count: neither disputed nor voided, of pairs that were not entered in error."""
        for session in self.sessions.values():
            end = self.pairs[session["pair"]]["end"]
            if session["state"] == "live" and not (end and end[1] == "entered-in-error"):
                if until is None or session["day"] <= until:
                    yield session

    def reciprocity(self, as_of):
        taught = {}
        for session in self.counting(as_of):
            people = self.pairs[session["pair"]]["people"]
            ways = taught.setdefault(frozenset(people), dict.fromkeys(people, 0))
            for exchange in session["exchanges"]:
                ways[exchange["teacher"]] += exchange["minutes"]
        ways = [sorted(minutes.values()) for minutes in taught.values() if any(minutes.values())]
        returned, total = sum(2 * less for less, _ in ways), sum(map(sum, ways))
        return figure(returned, total), figure(sum(less > 0 for less, _ in ways), len(ways))

    def by_record(self, watched):
        earliest = {}
        for session in self.counting():
            when = (session["occurred_at"], session["day"])
            earliest[session["pair"]] = min(when, earliest.get(session["pair"], when))
        for name, pair in self.pairs.items():
            if pair["start"] is None or (pair["end"] and pair["end"][1] == "entered-in-error"):
                continue
            start = min(pair["start"], earliest.get(name, pair["start"]))[1]
            if start > watched:
                continue
            if pair["end"] and pair["end"][0] <= watched:
                day, reason = pair["end"]
                if reason not in PLANNED | EARLY | CENSORED:
                    die(10, f"`{reason}` is not a reason known here")
                yield start, days(start, day), reason not in CENSORED
            else:
                yield start, days(start, watched), False

    def by_activity(self, watched, lapse):
        active = {}
        for session in self.counting(watched):
            active.setdefault(session["pair"], set()).add(session["day"])
        for met in active.values():
            first, *later = sorted(met)
            last = first
            for day in later:
                if days(last, day) > lapse:
                    break
                last = day
            known = date.fromisoformat(last) + timedelta(lapse)
            if known <= date.fromisoformat(watched):
                yield first, days(first, known.isoformat()), True
            else:
                yield first, days(first, watched), False


def days(start, end):
    return max(0, (date.fromisoformat(end) - date.fromisoformat(start)).days)


def figure(numerator, denominator):
    value = numerator / denominator if denominator else None
    return {"value": value, "numerator": numerator, "denominator": denominator}


def survival(lives, watched, horizons=(30, 90, 180, 365)):
    """Kaplan-Meier; None beyond what was watched. On one day ends come before censorings."""
    lives = list(lives)
    follow_up = max((max(exit, days(start, watched)) for start, exit, _ in lives), default=-1)
    left, at_risk, share, curve = {}, len(lives), 1.0, []
    for _, exit, ended in lives:
        stopped = left.setdefault(exit, [0, 0])
        stopped[0] += ended
        stopped[1] += 1
    for day in sorted(left):
        ended, stopped = left[day]
        if ended:
            share *= (at_risk - ended) / at_risk
        at_risk -= stopped
        curve.append((day, share))
    at = {}
    for horizon in horizons:
        reached = [share for day, share in curve if day <= horizon]
        at[str(horizon)] = None if horizon > follow_up else reached[-1] if reached else 1.0
    return {"n": len(lives), "events": sum(ended for _, _, ended in lives), "at": at}


def main():
    parser = argparse.ArgumentParser(description="Recompute a mentorlog bundle's measures, and check the bundle.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--vkey", help="the log's key, from somebody else than who gave you the bundle")
    parser.add_argument("--as-of", metavar="DAY", help="a civil day, e.g. 2026-11-21")
    parser.add_argument("--size", type=int, help="only the ledger's first N entries")
    given = parser.parse_args()
    vkey = given.vkey
    if vkey is None:
        keys = json.loads((given.bundle / "keys.json").read_text("utf-8"))["keys"]
        vkey = [key["vkey"] for key in keys if "program" in key][-1]
    origin, size, root = checkpoint(given.bundle, vkey)
    wanted = size if given.size is None else given.size
    if not 0 < wanted <= size:
        parser.error(f"--size is 1 to {size}")
    tree, program, last, root_then = Tree(), Program(), None, None
    for seq, entry in enumerate(entries(given.bundle, size)):
        tree.push(entry)
        if seq < wanted:
            last = json.loads(entry)
            if last["seq"] != seq:
                die(13, f"seq {last['seq']} stands where seq {seq} should be")
            program.apply(last)
            root_then = tree.root() if seq == wanted - 1 else None
    if tree.root() != root:
        die(13, "the entries are not the ones that were signed")
    as_of = given.as_of or last["day"]
    watched = min(as_of, program.archived or as_of)
    in_force = [measures for day, measures in program.measures if day <= as_of] or [program.measures[0][1]]
    lapse = in_force[-1]["lapse_after_days"]
    r_w, two_way = program.reciprocity(as_of)
    print(json.dumps({
        "origin": origin,
        "signed_by": vkey,
        "key_from": "--vkey" if given.vkey else "the bundle itself: it proves nothing about who made it",
        "size": wanted,
        "root": base64.b64encode(root_then).decode(),
        "as_of": as_of,
        "r_w": r_w,
        "two_way_share": two_way,
        "survival": {
            "record": survival(program.by_record(watched), watched),
            "activity": dict(survival(program.by_activity(watched, lapse), watched), lapse_days=lapse),
        },
    }, indent=2))


if __name__ == "__main__":
    try:
        main()
    except (OSError, UnicodeDecodeError, ValueError, KeyError, IndexError) as error:
        die(10, f"{type(error).__name__}: {error}")
