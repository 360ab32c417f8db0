package policy_test

// The policies of the developer guide, letter by letter apart from the two
// trailing commas of the KMS ones, which are not JSON.
const (
	// "Example 1: Allow users to get data from any Kinesis video stream"
	readAny = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "kinesisvideo:Describe*",
        "kinesisvideo:Get*",
        "kinesisvideo:List*"
      ],
      "Resource": "*"
    }
  ]
}`
	// "Example 2: Allow a user to create a Kinesis video stream and write data to it"
	createAndWrite = `{
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "kinesisvideo:CreateStream",
        "kinesisvideo:PutMedia"
      ],
      "Resource": "*"
    }
  ]
}`
	// "Example 3: Allow a user full access to all Kinesis Video Streams resources"
	fullAccess = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "kinesisvideo:*",
      "Resource": "*"
    }
  ]
}`
	// "Example 4: Allow a user to write data to a specific Kinesis video stream"
	writeOne = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "kinesisvideo:PutMedia",
      "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:stream/your_stream/0123456789012"
    }
  ]
}`
	// "Using the C++ Producer SDK on Raspberry Pi"
	raspberry = `{  
  "Version": "2012-10-17",  
  "Statement": [{  
    "Effect": "Allow",  
    "Action": [  
      "kinesisvideo:DescribeStream",  
      "kinesisvideo:CreateStream",  
      "kinesisvideo:GetDataEndpoint",  
      "kinesisvideo:PutMedia"  
    ],  
    "Resource": [  
      "*"   
    ]  
  }]  
}`
	// "Example Producer Permissions"
	kmsProducer = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "kms:GenerateDataKey"
      ],
      "Resource": "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    },
    {
      "Effect": "Allow",
      "Action": [
        "kinesis-video:PutMedia"
      ],
      "Resource": "arn:aws:kinesis-video:*:123456789012:MyStream"
    }
  ]
}`
	// "Example Consumer Permissions"
	kmsConsumer = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "kms:Decrypt"
      ],
      "Resource": "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    },
    {
      "Effect": "Allow",
      "Action": [
        "kinesis-video:GetMedia"
      ],
      "Resource": "arn:aws:kinesis-video:*:123456789012:MyStream"
    }
  ]
}`
	// "Granting Other IAM Accounts Access to a Kinesis Video Stream"
	assumeRole = `{
  "Version": "2012-10-17",
  "Statement": {
    "Effect": "Allow",
    "Action": "sts:AssumeRole",
    "Resource": "arn:aws:iam::123456789012:role/CustomRole"
  }
}`
	// "To set up an identity pool" (Android)
	identityPool = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "cognito-identity:*",
        "kinesisvideo:*"
      ],
      "Resource": [
        "*"
      ]
    }
  ]
}`
)

const (
	yourStream = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/your_stream/0123456789012"
	myStream   = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/MyStream/1600000000000"
	masterKey  = "arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

var guide = []evaluation{
	{"example 1: DescribeStream of any stream", readAny, "kinesisvideo:DescribeStream", cam, nil, allow},
	{"example 1: GetDataEndpoint of any stream", readAny, "kinesisvideo:GetDataEndpoint", cam, nil, allow},
	{"example 1: GetMedia of any stream", readAny, "kinesisvideo:GetMedia", door, nil, allow},
	{"example 1: ListStreams", readAny, "kinesisvideo:ListStreams", "*", nil, allow},
	{"example 1: ListTagsForStream", readAny, "kinesisvideo:ListTagsForStream", cam, nil, allow},
	{"example 1: not PutMedia", readAny, "kinesisvideo:PutMedia", cam, nil, none},
	{"example 1: not DeleteStream", readAny, "kinesisvideo:DeleteStream", cam, nil, none},
	{"example 1: nothing of IAM", readAny, "iam:GetUser", "*", nil, none},
	{"example 2: CreateStream", createAndWrite, "kinesisvideo:CreateStream", cam, nil, allow},
	{"example 2: PutMedia", createAndWrite, "kinesisvideo:PutMedia", cam, nil, allow},
	{"example 2: not GetMedia", createAndWrite, "kinesisvideo:GetMedia", cam, nil, none},
	{"example 2: not even GetDataEndpoint", createAndWrite, "kinesisvideo:GetDataEndpoint", cam, nil, none},
	{"example 3: PutMedia", fullAccess, "kinesisvideo:PutMedia", cam, nil, allow},
	{"example 3: DeleteStream", fullAccess, "kinesisvideo:DeleteStream", door, nil, allow},
	{"example 3: ListStreams", fullAccess, "kinesisvideo:ListStreams", "*", nil, allow},
	{"example 3: not CreateUser", fullAccess, "iam:CreateUser", "*", nil, none},
	{"example 4: PutMedia to that stream", writeOne, "kinesisvideo:PutMedia", yourStream, nil, allow},
	{"example 4: no other stream", writeOne, "kinesisvideo:PutMedia", cam, nil, none},
	{"example 4: nothing but PutMedia", writeOne, "kinesisvideo:GetMedia", yourStream, nil, none},
	{"Raspberry Pi: DescribeStream", raspberry, "kinesisvideo:DescribeStream", cam, nil, allow},
	{"Raspberry Pi: CreateStream", raspberry, "kinesisvideo:CreateStream", cam, nil, allow},
	{"Raspberry Pi: GetDataEndpoint", raspberry, "kinesisvideo:GetDataEndpoint", cam, nil, allow},
	{"Raspberry Pi: PutMedia", raspberry, "kinesisvideo:PutMedia", cam, nil, allow},
	{"Raspberry Pi: not GetMedia", raspberry, "kinesisvideo:GetMedia", cam, nil, none},
	{"Raspberry Pi: not TagStream", raspberry, "kinesisvideo:TagStream", cam, nil, none},
	{"KMS producer: GenerateDataKey with that key", kmsProducer, "kms:GenerateDataKey", masterKey, nil, allow},
	{"KMS producer: not Decrypt", kmsProducer, "kms:Decrypt", masterKey, nil, none},
	{"KMS producer: PutMedia to MyStream", kmsProducer, "kinesisvideo:PutMedia", myStream, nil, allow},
	{"KMS producer: no other stream", kmsProducer, "kinesisvideo:PutMedia", cam, nil, none},
	{"KMS producer: not GetMedia", kmsProducer, "kinesisvideo:GetMedia", myStream, nil, none},
	{"KMS consumer: Decrypt with that key", kmsConsumer, "kms:Decrypt", masterKey, nil, allow},
	{"KMS consumer: no other key", kmsConsumer, "kms:Decrypt", masterKey + "0", nil, none},
	{"KMS consumer: GetMedia of MyStream", kmsConsumer, "kinesisvideo:GetMedia", myStream, nil, allow},
	{"KMS consumer: not PutMedia", kmsConsumer, "kinesisvideo:PutMedia", myStream, nil, none},
	{"STS: AssumeRole of that role", assumeRole, "sts:AssumeRole", "arn:aws:iam::123456789012:role/CustomRole", nil, allow},
	{"STS: no other role", assumeRole, "sts:AssumeRole", "arn:aws:iam::123456789012:role/Other", nil, none},
	{"identity pool: all of Kinesis Video Streams", identityPool, "kinesisvideo:PutMedia", cam, nil, allow},
	{"identity pool: nothing of IAM", identityPool, "iam:CreateUser", "*", nil, none},
}
