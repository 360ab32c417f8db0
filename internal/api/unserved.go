package api

import "strings"

// unservedRows are operations that Kinesis Video Streams has and this version
// does not: they answer 501 by name, so that a caller can tell a missing
// feature from a mistyped path. The signature and the policy are asked first.
func unservedRows() []Operation {
	var rows []Operation
	add := func(path string, names ...string) {
		for _, name := range names {
			o := Operation{Name: name, Path: path, Service: "kinesisvideo", Action: actionOf(name)}
			if o.Path == "" {
				o.Path = "/" + strings.ToLower(name[:1]) + name[1:]
			}
			if strings.Contains(name, "Configuration") && !strings.Contains(name, "Edge") || name == "GetImages" {
				o.Stream = FromBody
			}
			rows = append(rows, o)
		}
	}
	add("",
		"UpdateNotificationConfiguration", "UpdateImageGenerationConfiguration", "UpdateStreamStorageConfiguration",
		"GetImages",
		"CreateSignalingChannel", "DeleteSignalingChannel", "DescribeSignalingChannel", "UpdateSignalingChannel",
		"ListSignalingChannels", "GetSignalingChannelEndpoint",
		"DescribeMediaStorageConfiguration", "UpdateMediaStorageConfiguration", "DescribeMappedResourceConfiguration",
		"StartEdgeConfigurationUpdate", "DescribeEdgeConfiguration", "DeleteEdgeConfiguration", "ListEdgeAgentConfigurations",
		"JoinStorageSession", "JoinStorageSessionAsViewer",
	)
	add("/v1/get-ice-server-config", "GetIceServerConfig")
	add("/v1/send-alexa-offer-to-master", "SendAlexaOfferToMaster")
	return rows
}
