package main

import (
	"context"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// credentials gives who calls, in the order of the official element: device
// certificate, keys as properties, environment and profiles, credential file.
// nil leaves it to the environment.
func (s settings) credentials(context.Context) (aws.CredentialsProvider, error) {
	if p := s.static(); p != nil {
		return p, nil
	}
	if os.Getenv("AWS_ACCESS_KEY_ID") != "" || os.Getenv("AWS_PROFILE") != "" {
		return nil, nil
	}
	return nil, nil
}
