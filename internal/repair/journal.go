package repair

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fettle/internal/store"
)

// JournalSchema is the version of the journal's JSON payloads.
const JournalSchema = 1

// headerRecord says what a journal belongs to.
type headerRecord struct {
	Schema      int       `json:"schema"`
	Run         string    `json:"run"`
	Plan        string    `json:"plan"` // the plan's checksum
	Unit        string    `json:"unit"`
	Generation  int       `json:"generation"`
	Fingerprint string    `json:"fingerprint"` // of the unit before the first write
	Created     time.Time `json:"created"`
	Steps       int       `json:"steps"` // how many the plan has
	Allowed     []string  `json:"allowed,omitempty"`
}

// beginRecord announces the changes of a step.
type beginRecord struct {
	Step         int    `json:"step"`
	Title        string `json:"title"`
	Findings     []int  `json:"findings"`
	Irreversible bool   `json:"irreversible,omitempty"`
	Changes      int    `json:"changes"` // how many frames of kindChange follow
}

type stepRecord struct {
	Step        int       `json:"step"`
	Fingerprint string    `json:"fingerprint,omitempty"` // of the unit after the step
	At          time.Time `json:"at"`
}

type undoingRecord struct {
	Steps []int     `json:"steps"` // in the order in which they are taken back
	At    time.Time `json:"at"`
}

type endRecord struct {
	Fingerprint string    `json:"fingerprint,omitempty"`
	At          time.Time `json:"at"`
}

// journal is one open for writing. After any error it refuses everything: what is on disk is then unknown, and only
// reading it again can tell.
type journal struct {
	fs    Files
	f     File
	path  string
	nonce uint64
	seq   uint64
	w     *bufio.Writer
	err   error
}

// createJournal makes a journal with its header. Nothing of it is durable yet; the first sealStep sees to that.
func createJournal(fs Files, path string, h headerRecord) (*journal, error) {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, fmt.Errorf("create journal %s: %w", path, err)
	}
	f, err := fs.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	j := &journal{fs: fs, f: f, path: path, nonce: binary.LittleEndian.Uint64(nonce[:])}
	j.w = bufio.NewWriterSize(io.NewOffsetWriter(f, 0), 64<<10)
	j.json(kindHeader, h)
	return j, j.err
}

// continueJournal opens a journal that was scanned, cuts off what does not count, and makes what counts durable: the
// process that wrote it may have died before it could.
func continueJournal(fs Files, path string, s *scanned) (_ *journal, err error) {
	f, err := fs.Open(path, true)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if s.size > s.end {
		if err := f.Truncate(s.end); err != nil {
			return nil, fmt.Errorf("cut journal %s at %d: %w", path, s.end, err)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("sync journal %s: %w", path, err)
	}
	if err := fs.SyncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("sync directory of journal %s: %w", path, err)
	}
	j := &journal{fs: fs, f: f, path: path, nonce: s.nonce, seq: s.frames}
	j.w = bufio.NewWriterSize(io.NewOffsetWriter(f, s.end), 64<<10)
	return j, nil
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.f.Close()
}

// put appends one frame whose payload is given in parts.
func (j *journal) put(k kind, parts ...[]byte) {
	if j.err != nil {
		return
	}
	var size uint64
	crc := uint32(0)
	for _, p := range parts {
		size += uint64(len(p))
		crc = crc32.Update(crc, castagnoli, p)
	}
	head := frame{kind: k, nonce: j.nonce, seq: j.seq, size: size}.head()
	j.seq++
	parts = append(append([][]byte{head[:]}, parts...), binary.LittleEndian.AppendUint32(nil, crc))
	for _, p := range parts {
		if _, err := j.w.Write(p); err != nil {
			j.err = fmt.Errorf("write journal %s: %w", j.path, err)
			return
		}
	}
}

func (j *journal) json(k kind, v any) {
	raw, err := json.Marshal(v)
	if err == nil && len(raw) > maxControl {
		err = fmt.Errorf("record of %d bytes is too large", len(raw))
	}
	if err != nil {
		if j.err == nil {
			j.err = fmt.Errorf("write journal %s: %w", j.path, err)
		}
		return
	}
	j.put(k, raw)
}

func (j *journal) sync() {
	if j.err != nil {
		return
	}
	err := j.w.Flush()
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		j.err = fmt.Errorf("sync journal %s: %w", j.path, err)
	}
}

// barrier appends a frame after everything before it is durable, and makes it durable too.
func (j *journal) barrier(k kind, v any) error {
	j.sync()
	j.json(k, v)
	j.sync()
	return j.err
}

// sealStep writes a step's changes and returns when they, the seal and the journal's directory entry are durable. Only then
// may the store be written.
func (j *journal) sealStep(ctx context.Context, step store.Step, raw []store.Change, at time.Time) error {
	j.json(kindBegin, beginRecord{Step: step.ID, Title: step.Title, Findings: step.Findings, Irreversible: step.Irreversible, Changes: len(raw)})
	part := begin(ctx, "journal", "writing the journal", raw, func(c *store.Change) int { return len(c.Before) + len(c.After) })
	defer part.End()
	for _, c := range raw {
		part.Did(1, int64(len(c.Before)+len(c.After)))
		parts, err := changeParts(c)
		if err != nil && j.err == nil {
			j.err = fmt.Errorf("write journal %s: %w", j.path, err)
		}
		j.put(kindChange, parts...)
	}
	j.sync()
	if j.err == nil {
		if err := j.fs.SyncDir(filepath.Dir(j.path)); err != nil {
			j.err = fmt.Errorf("sync directory of journal %s: %w", j.path, err)
		}
	}
	return j.barrier(kindSealed, stepRecord{Step: step.ID, At: at})
}

// begin begins a part of the work that does all changes, with so many bytes for each.
func begin(ctx context.Context, name, title string, changes []store.Change, size func(*store.Change) int) *store.Part {
	var bytes int64
	for i := range changes {
		bytes += int64(size(&changes[i]))
	}
	return store.Begin(ctx, name, title, int64(len(changes)), bytes)
}

// Names of journals: UNIT-HASH.GENERATION.journal. Generations count from 1; each application of a plan is one.
const journalExt = ".journal"

func journalName(unit string, generation int) string {
	return fmt.Sprintf("%s.%04d%s", fileName(unit), generation, journalExt)
}

// parseJournalName splits what journalName made.
func parseJournalName(name string) (unit string, generation int, ok bool) {
	name, ok = strings.CutSuffix(name, journalExt)
	if !ok {
		return "", 0, false
	}
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.Atoi(name[i+1:])
	if err != nil || n < 1 {
		return "", 0, false
	}
	return name[:i], n, true
}

// fileName makes a file name of a unit's id: readable, and unique because it ends in a hash of the id.
func fileName(unit string) string {
	var b strings.Builder
	for _, r := range unit {
		if b.Len() >= 40 {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	sum := sha256.Sum256([]byte(unit))
	return fmt.Sprintf("%s-%x", strings.Trim(b.String(), "-"), sum[:4])
}
