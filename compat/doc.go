// Package compat holds suites that drive a running server with the clients that
// people have: the AWS SDKs for Go, Python and JavaScript, the AWS CLI, and the
// official producer and consumer libraries. It has no code of its own; its
// tests start a server and run the suites against it. See README.md.
package compat
