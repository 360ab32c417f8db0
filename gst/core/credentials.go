package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluicevideo/sluice/producer"
)

const (
	// What the official element takes for "not set".
	unsetAccessKey    = "access_key"
	unsetSecretKey    = "secret_key"
	unsetSessionToken = "session_token"
	defaultFile       = ".kvs/credential"
)

var errNoCredentials = errors.New("no credentials: set iot-certificate, or access-key and secret-key, " +
	"or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE in the environment, or credential-path")

// credentials gives who calls, in the order of the official element: device
// certificate, keys as properties, environment and profile, credential file. nil
// leaves it to what the AWS SDK finds in the environment. A profile that merely
// lies in the home directory comes after a credential-path that somebody set.
func (s settings) credentials(getenv func(string) string) (aws.CredentialsProvider, error) {
	if len(s.IoT) > 0 {
		return s.iot()
	}
	if p, err := s.static(); p != nil || err != nil {
		return p, err
	}
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		if getenv(name) != "" {
			return nil, nil
		}
	}
	switch {
	case s.CredentialPath != "" && s.CredentialPath != defaultFile:
		return s.file(s.CredentialPath)
	case hasProfile(getenv):
		return nil, nil
	case exists(defaultFile):
		return s.file(defaultFile)
	}
	return nil, errNoCredentials
}

// iot asks the credentials provider of AWS IoT with a device certificate.
func (s settings) iot() (aws.CredentialsProvider, error) {
	for _, key := range []string{"endpoint", "cert-path", "key-path", "role-aliases"} {
		if s.IoT[key] == "" {
			return nil, fmt.Errorf("iot-certificate: %s is missing", key)
		}
	}
	thing := s.IoT["iot-thing-name"]
	if thing == "" {
		thing = s.StreamName
	}
	p, err := producer.IoTCertificate{
		Endpoint: s.IoT["endpoint"], RoleAlias: s.IoT["role-aliases"], ThingName: thing,
		CertFile: s.IoT["cert-path"], KeyFile: s.IoT["key-path"], CAFile: s.IoT["ca-path"],
	}.Provider()
	if err != nil {
		return nil, fmt.Errorf("iot-certificate: %w", err)
	}
	return p, nil
}

// static are keys that were given as properties; nil when they were not.
func (s settings) static() (aws.CredentialsProvider, error) {
	access, secret := unlessDefault(s.AccessKey, unsetAccessKey), unlessDefault(s.SecretKey, unsetSecretKey)
	switch {
	case access == "" && secret == "":
		return nil, nil
	case access == "":
		return nil, errors.New("secret-key is set and access-key is not")
	case secret == "":
		return nil, errors.New("access-key is set and secret-key is not")
	}
	return producer.StaticCredentials(access, secret, unlessDefault(s.SessionToken, unsetSessionToken), time.Time{}), nil
}

// file reads a credential file, which is read again when it is to be renewed. One
// that can't be read now is a mistake; later it may be in the middle of a change.
func (s settings) file(path string) (aws.CredentialsProvider, error) {
	p := producer.RotatingFile(path)
	if _, err := p.Retrieve(context.Background()); err != nil {
		return nil, fmt.Errorf("credential-path: %w", err)
	}
	return p, nil
}

func unlessDefault(value, byDefault string) string {
	if value == byDefault {
		return ""
	}
	return value
}

// hasProfile reports whether there is a configuration of the AWS tools to look
// into.
func hasProfile(getenv func(string) string) bool {
	home, _ := os.UserHomeDir()
	for variable, name := range map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"} {
		path := getenv(variable)
		if path == "" && home != "" {
			path = filepath.Join(home, ".aws", name)
		}
		if exists(path) {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return path != "" && err == nil
}
