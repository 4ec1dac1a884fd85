// Verifies a mentorlog ledger with nothing of mentorlog: the notes and trees are golang.org/x/mod/sumdb's.
//
//	verify -log URL|DIR -vkey KEY [-proofs URL] [-samples N]
//
// It opens the checkpoint, re-hashes every entry of every bundle up to the checkpoint's root, checks every hash tile
// it reads against that root, and with -proofs also the server's own inclusion and consistency proofs.
// Any doubt ends it with status 1.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var (
	logAt   = flag.String("log", "", "prefix of the log: a directory or an http URL")
	vkey    = flag.String("vkey", "", "verifier key of the log")
	proofs  = flag.String("proofs", "", "URL of the server's proofs, to check them as well")
	samples = flag.Int("samples", 200, "entries and earlier sizes whose proofs are checked")
)

func get(prefix, path string) []byte {
	if !strings.HasPrefix(prefix, "http://") {
		data, err := os.ReadFile(filepath.Join(prefix, filepath.FromSlash(path)))
		check(err)
		return data
	}
	answer, err := http.Get(prefix + "/" + path)
	check(err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	check(err)
	if answer.StatusCode != 200 {
		log.Fatalf("%s/%s: %s: %s", prefix, path, answer.Status, data)
	}
	return data
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}

// open verifies a checkpoint's signature and reads what it says.
func open(verifiers note.Verifiers, msg []byte) tlog.Tree {
	opened, err := note.Open(msg, verifiers)
	check(err)
	lines := strings.Split(opened.Text, "\n")
	must(len(lines) >= 4, "the checkpoint has %d lines", len(lines))
	must(lines[0] == opened.Sigs[0].Name, "origin %q is signed by %q", lines[0], opened.Sigs[0].Name)
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	hash, err := tlog.ParseHash(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: hash}
}

// number writes N in groups of three digits, as C2SP tlog-tiles does.
func number(n int64) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	return path
}

func width(w int) string {
	if w == 256 {
		return ""
	}
	return fmt.Sprintf(".p/%d", w)
}

// tiles fetches hash tiles: sumdb names them tile/8/L/N, C2SP tile/L/N.
type tiles struct{}

func (tiles) Height() int                               { return 8 }
func (tiles) SaveTiles(read []tlog.Tile, data [][]byte) {}
func (tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := fmt.Sprintf("tile/%d/%s%s", tile.L, number(tile.N), width(tile.W))
		all = append(all, get(*logAt, path))
	}
	return all, nil
}

// entry counts down what a bundle holds.
func entries(bundle []byte) [][]byte {
	var all [][]byte
	for len(bundle) > 0 {
		must(len(bundle) >= 2, "a bundle breaks off")
		length := int(binary.BigEndian.Uint16(bundle))
		must(len(bundle) >= 2+length, "a bundle breaks off")
		all = append(all, bundle[2:2+length])
		bundle = bundle[2+length:]
	}
	return all
}

func hashes(lines []string) []tlog.Hash {
	var all []tlog.Hash
	for _, line := range lines {
		bytes, err := base64.StdEncoding.DecodeString(line)
		check(err)
		must(len(bytes) == tlog.HashSize, "a hash of %d bytes", len(bytes))
		all = append(all, *(*tlog.Hash)(bytes))
	}
	return all
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	verifier, err := note.NewVerifier(*vkey)
	check(err)
	verifiers := note.VerifierList(verifier)
	tree := open(verifiers, get(*logAt, "checkpoint"))

	// Every entry, hashed here: nothing that the log says of its hashes is believed.
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return found, nil
	})
	var leaves []tlog.Hash
	for n := int64(0); n*256 < tree.N; n++ {
		w := 256
		if rest := tree.N - n*256; rest < 256 {
			w = int(rest)
		}
		found := entries(get(*logAt, "tile/entries/"+number(n)+width(w)))
		must(len(found) == w, "bundle %d holds %d entries, not %d", n, len(found), w)
		for _, entry := range found {
			more, err := tlog.StoredHashes(int64(len(leaves)), entry, reader)
			check(err)
			stored = append(stored, more...)
			leaves = append(leaves, tlog.RecordHash(entry))
		}
	}
	root, err := tlog.TreeHash(tree.N, reader)
	check(err)
	must(root == tree.Hash, "the entries hash to %v, the checkpoint says %v", root, tree.Hash)
	fmt.Printf("%d entries hash to the signed root %v\n", tree.N, root)

	// Proofs out of the hash tiles, which the reader checks against the root.
	fromTiles := tlog.TileHashReader(tree, tiles{})
	chance := rand.New(rand.NewSource(1))
	for i := 0; i < *samples; i++ {
		n := chance.Int63n(tree.N)
		proof, err := tlog.ProveRecord(tree.N, n, fromTiles)
		check(err)
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaves[n]))
		old := 1 + chance.Int63n(tree.N)
		before, err := tlog.TreeHash(old, reader)
		check(err)
		grown, err := tlog.ProveTree(tree.N, old, fromTiles)
		check(err)
		check(tlog.CheckTree(grown, tree.N, tree.Hash, old, before))
	}
	fmt.Printf("%d inclusion and consistency proofs out of the tiles hold\n", *samples)
	if *proofs == "" {
		return
	}

	// The server's own proofs.
	for i := 0; i < *samples; i++ {
		n := chance.Int63n(tree.N)
		file := string(get(*proofs, fmt.Sprintf("inclusion?seq=%d", n)))
		head, checkpoint, _ := strings.Cut(file, "\n\n")
		lines := strings.Split(head, "\n")
		must(lines[0] == "c2sp.org/tlog-proof@v1", "a proof begins with %q", lines[0])
		must(lines[1] == fmt.Sprintf("index %d", n), "a proof of %q, not of %d", lines[1], n)
		signed := open(verifiers, []byte(checkpoint))
		check(tlog.CheckRecord(hashes(lines[2:]), signed.N, signed.Hash, n, leaves[n]))

		old, now := 1+chance.Int63n(tree.N), tree.N
		var grown struct{ Hashes []string }
		check(json.Unmarshal(get(*proofs, fmt.Sprintf("consistency?old=%d&new=%d", old, now)), &grown))
		before, err := tlog.TreeHash(old, reader)
		check(err)
		check(tlog.CheckTree(hashes(grown.Hashes), now, tree.Hash, old, before))
	}
	fmt.Printf("%d inclusion and consistency proofs of the server hold\n", *samples)
}
