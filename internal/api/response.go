package api

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// response remembers what was answered. It adds no buffer, and Unwrap lets
// http.NewResponseController reach the connection below it: PutMedia needs full
// duplex and GetMedia a flush a fragment.
type response struct {
	http.ResponseWriter
	status int // 0: nothing was answered yet
	bytes  int64
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	// 1xx answers are not the answer.
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the connection's own way of sending files.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Flush is for code that asks for http.Flusher.
func (w *response) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	http.NewResponseController(w.ResponseWriter).Flush()
}

func (c *Call) writeJSON(status int, body any) error {
	b := []byte("{}")
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return err
		}
	}
	contentType := "application/json"
	if c.protocol() == JSON11 {
		contentType = "application/x-amz-json-1.1"
	}
	c.out.Header()["Content-Type"] = []string{contentType}
	c.writeWhole(status, b)
	return nil
}

// writeWhole answers with a body of known length: one piece on the wire, and no
// chunks for clients to put together.
func (c *Call) writeWhole(status int, body []byte) {
	c.out.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.out.WriteHeader(status)
	c.out.Write(body)
}

// readAll reads a body whose length is known (-1: not) and bounded by r.
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(r)
	}
	b := make([]byte, length)
	_, err := io.ReadFull(r, b)
	return b, err
}
