package console

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// packed are the texts of the build, compressed when they are first asked for
// and kept: they are few and stay the same while the server runs.
type packed struct {
	files fs.FS
	mu    sync.Mutex
	texts map[string][]byte
}

// textTypes are the kinds of texts in the build. They are said here because the
// system's own table may say otherwise, and a browser runs no script of another
// type.
var textTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

func newPacked(files fs.FS) *packed { return &packed{files: files, texts: map[string][]byte{}} }

// serve answers with the compressed file, if it is a text and the client takes
// it so.
func (p *packed) serve(w http.ResponseWriter, r *http.Request, name string) bool {
	name = cmp.Or(name, "index.html")
	kind := textTypes[path.Ext(name)]
	if kind == "" {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Add("Vary", "Accept-Encoding")
	if !takesGzip(r) {
		return false
	}
	b, err := p.text(name)
	if err != nil {
		return false // the file server says what is wrong
	}
	h.Set("Content-Encoding", "gzip")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	return true
}

func (p *packed) text(name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.texts[name]; ok {
		return b, nil
	}
	plain, err := fs.ReadFile(p.files, name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(plain)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, err
	}
	p.texts[name] = b.Bytes()
	return b.Bytes(), nil
}

// takesGzip reads Accept-Encoding as browsers write it; a weight of 0 refuses.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			weight = strings.ReplaceAll(weight, " ", "")
			return !strings.HasPrefix(weight, "q=0") || strings.Trim(weight, "q=0.") != ""
		}
	}
	return false
}
