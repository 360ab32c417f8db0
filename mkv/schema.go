package mkv

import "github.com/sluicevideo/sluice/mkv/ebml"

// Ids of the elements that this package or its users act on (RFC 9559).
const (
	IDSegment ebml.ID = 0x18538067

	IDSeekHead     ebml.ID = 0x114D9B74
	IDSeek         ebml.ID = 0x4DBB
	IDSeekID       ebml.ID = 0x53AB
	IDSeekPosition ebml.ID = 0x53AC

	IDInfo           ebml.ID = 0x1549A966
	IDSegmentUUID    ebml.ID = 0x73A4
	IDTimestampScale ebml.ID = 0x2AD7B1
	IDDuration       ebml.ID = 0x4489
	IDDateUTC        ebml.ID = 0x4461
	IDTitle          ebml.ID = 0x7BA9
	IDMuxingApp      ebml.ID = 0x4D80
	IDWritingApp     ebml.ID = 0x5741

	IDTracks            ebml.ID = 0x1654AE6B
	IDTrackEntry        ebml.ID = 0xAE
	IDTrackNumber       ebml.ID = 0xD7
	IDTrackUID          ebml.ID = 0x73C5
	IDTrackType         ebml.ID = 0x83
	IDFlagLacing        ebml.ID = 0x9C
	IDDefaultDuration   ebml.ID = 0x23E383
	IDTrackName         ebml.ID = 0x536E
	IDLanguage          ebml.ID = 0x22B59C
	IDLanguageBCP47     ebml.ID = 0x22B59D
	IDCodecID           ebml.ID = 0x86
	IDCodecPrivate      ebml.ID = 0x63A2
	IDCodecDelay        ebml.ID = 0x56AA
	IDSeekPreRoll       ebml.ID = 0x56BB
	IDVideo             ebml.ID = 0xE0
	IDPixelWidth        ebml.ID = 0xB0
	IDPixelHeight       ebml.ID = 0xBA
	IDDisplayWidth      ebml.ID = 0x54B0
	IDDisplayHeight     ebml.ID = 0x54BA
	IDAudio             ebml.ID = 0xE1
	IDSamplingFrequency ebml.ID = 0xB5
	IDChannels          ebml.ID = 0x9F
	IDBitDepth          ebml.ID = 0x6264

	IDCluster        ebml.ID = 0x1F43B675
	IDTimestamp      ebml.ID = 0xE7
	IDPosition       ebml.ID = 0xA7
	IDPrevSize       ebml.ID = 0xAB
	IDSimpleBlock    ebml.ID = 0xA3
	IDBlockGroup     ebml.ID = 0xA0
	IDBlock          ebml.ID = 0xA1
	IDBlockDuration  ebml.ID = 0x9B
	IDReferenceBlock ebml.ID = 0xFB
	IDDiscardPadding ebml.ID = 0x75A2

	IDCues               ebml.ID = 0x1C53BB6B
	IDCuePoint           ebml.ID = 0xBB
	IDCueTime            ebml.ID = 0xB3
	IDCueTrackPositions  ebml.ID = 0xB7
	IDCueTrack           ebml.ID = 0xF7
	IDCueClusterPosition ebml.ID = 0xF1

	IDTags      ebml.ID = 0x1254C367
	IDTag       ebml.ID = 0x7373
	IDTargets   ebml.ID = 0x63C0
	IDSimpleTag ebml.ID = 0x67C8
	IDTagName   ebml.ID = 0x45A3
	IDTagString ebml.ID = 0x4487

	IDChapters    ebml.ID = 0x1043A770
	IDAttachments ebml.ID = 0x1941A469
)

const (
	idTagTrackUID      ebml.ID = 0x63C5
	idTagEditionUID    ebml.ID = 0x63C9
	idTagChapterUID    ebml.ID = 0x63C4
	idTagAttachmentUID ebml.ID = 0x63C6
	idChapterAtom      ebml.ID = 0xB6
	anywhere           ebml.ID = 1 // not an id: the parent of Void and CRC-32
)

// Type is what an element's data is.
type Type uint8

const (
	Opaque Type = iota // bytes without a meaning here, or of an unknown id: reported as they arrive
	Master             // elements
	Uint
	Int
	Float
	String
	Date
	Binary // bytes, reported whole
	block  // SimpleBlock and Block
)

type element struct {
	name   string
	typ    Type
	parent ebml.ID // 0: the document itself
}

// schema is RFC 9559's table, as far as a reader of media meets it. What is
// missing is passed over like any unknown id.
var schema = map[ebml.ID]element{
	ebml.IDVoid:               {"Void", Opaque, anywhere},
	ebml.IDCRC32:              {"CRC-32", Binary, anywhere},
	ebml.IDHeader:             {"EBML", Master, 0},
	ebml.IDVersion:            {"EBMLVersion", Uint, ebml.IDHeader},
	ebml.IDReadVersion:        {"EBMLReadVersion", Uint, ebml.IDHeader},
	ebml.IDMaxIDLength:        {"EBMLMaxIDLength", Uint, ebml.IDHeader},
	ebml.IDMaxSizeLength:      {"EBMLMaxSizeLength", Uint, ebml.IDHeader},
	ebml.IDDocType:            {"DocType", String, ebml.IDHeader},
	ebml.IDDocTypeVersion:     {"DocTypeVersion", Uint, ebml.IDHeader},
	ebml.IDDocTypeReadVersion: {"DocTypeReadVersion", Uint, ebml.IDHeader},
	IDSegment:                 {"Segment", Master, 0},

	IDSeekHead:     {"SeekHead", Master, IDSegment},
	IDSeek:         {"Seek", Master, IDSeekHead},
	IDSeekID:       {"SeekID", Binary, IDSeek},
	IDSeekPosition: {"SeekPosition", Uint, IDSeek},

	IDInfo:           {"Info", Master, IDSegment},
	IDSegmentUUID:    {"SegmentUUID", Binary, IDInfo},
	0x7384:           {"SegmentFilename", String, IDInfo},
	0x3CB923:         {"PrevUUID", Binary, IDInfo},
	0x3EB923:         {"NextUUID", Binary, IDInfo},
	0x4444:           {"SegmentFamily", Binary, IDInfo},
	IDTimestampScale: {"TimestampScale", Uint, IDInfo},
	IDDuration:       {"Duration", Float, IDInfo},
	IDDateUTC:        {"DateUTC", Date, IDInfo},
	IDTitle:          {"Title", String, IDInfo},
	IDMuxingApp:      {"MuxingApp", String, IDInfo},
	IDWritingApp:     {"WritingApp", String, IDInfo},

	IDTracks:            {"Tracks", Master, IDSegment},
	IDTrackEntry:        {"TrackEntry", Master, IDTracks},
	IDTrackNumber:       {"TrackNumber", Uint, IDTrackEntry},
	IDTrackUID:          {"TrackUID", Uint, IDTrackEntry},
	IDTrackType:         {"TrackType", Uint, IDTrackEntry},
	0xB9:                {"FlagEnabled", Uint, IDTrackEntry},
	0x88:                {"FlagDefault", Uint, IDTrackEntry},
	0x55AA:              {"FlagForced", Uint, IDTrackEntry},
	0x55AB:              {"FlagHearingImpaired", Uint, IDTrackEntry},
	0x55AC:              {"FlagVisualImpaired", Uint, IDTrackEntry},
	0x55AE:              {"FlagOriginal", Uint, IDTrackEntry},
	0x55AF:              {"FlagCommentary", Uint, IDTrackEntry},
	IDFlagLacing:        {"FlagLacing", Uint, IDTrackEntry},
	0x6DE7:              {"MinCache", Uint, IDTrackEntry},
	0x6DF8:              {"MaxCache", Uint, IDTrackEntry},
	IDDefaultDuration:   {"DefaultDuration", Uint, IDTrackEntry},
	0x234E7A:            {"DefaultDecodedFieldDuration", Uint, IDTrackEntry},
	0x23314F:            {"TrackTimestampScale", Float, IDTrackEntry},
	0x55EE:              {"MaxBlockAdditionID", Uint, IDTrackEntry},
	0x41E4:              {"BlockAdditionMapping", Master, IDTrackEntry},
	0x41F0:              {"BlockAddIDValue", Uint, 0x41E4},
	0x41A4:              {"BlockAddIDName", String, 0x41E4},
	0x41E7:              {"BlockAddIDType", Uint, 0x41E4},
	0x41ED:              {"BlockAddIDExtraData", Binary, 0x41E4},
	IDTrackName:         {"Name", String, IDTrackEntry},
	IDLanguage:          {"Language", String, IDTrackEntry},
	IDLanguageBCP47:     {"LanguageBCP47", String, IDTrackEntry},
	IDCodecID:           {"CodecID", String, IDTrackEntry},
	IDCodecPrivate:      {"CodecPrivate", Binary, IDTrackEntry},
	0x258688:            {"CodecName", String, IDTrackEntry},
	0x7446:              {"AttachmentLink", Uint, IDTrackEntry},
	IDCodecDelay:        {"CodecDelay", Uint, IDTrackEntry},
	IDSeekPreRoll:       {"SeekPreRoll", Uint, IDTrackEntry},
	IDVideo:             {"Video", Master, IDTrackEntry},
	0x9A:                {"FlagInterlaced", Uint, IDVideo},
	0x9D:                {"FieldOrder", Uint, IDVideo},
	0x53B8:              {"StereoMode", Uint, IDVideo},
	0x53C0:              {"AlphaMode", Uint, IDVideo},
	IDPixelWidth:        {"PixelWidth", Uint, IDVideo},
	IDPixelHeight:       {"PixelHeight", Uint, IDVideo},
	0x54AA:              {"PixelCropBottom", Uint, IDVideo},
	0x54BB:              {"PixelCropTop", Uint, IDVideo},
	0x54CC:              {"PixelCropLeft", Uint, IDVideo},
	0x54DD:              {"PixelCropRight", Uint, IDVideo},
	IDDisplayWidth:      {"DisplayWidth", Uint, IDVideo},
	IDDisplayHeight:     {"DisplayHeight", Uint, IDVideo},
	0x54B2:              {"DisplayUnit", Uint, IDVideo},
	0x2EB524:            {"UncompressedFourCC", Binary, IDVideo},
	0x2383E3:            {"FrameRate", Float, IDVideo},
	0x55B0:              {"Colour", Master, IDVideo},
	0x55B1:              {"MatrixCoefficients", Uint, 0x55B0},
	0x55B2:              {"BitsPerChannel", Uint, 0x55B0},
	0x55B3:              {"ChromaSubsamplingHorz", Uint, 0x55B0},
	0x55B4:              {"ChromaSubsamplingVert", Uint, 0x55B0},
	0x55B7:              {"ChromaSitingHorz", Uint, 0x55B0},
	0x55B8:              {"ChromaSitingVert", Uint, 0x55B0},
	0x55B9:              {"Range", Uint, 0x55B0},
	0x55BA:              {"TransferCharacteristics", Uint, 0x55B0},
	0x55BB:              {"Primaries", Uint, 0x55B0},
	0x55BC:              {"MaxCLL", Uint, 0x55B0},
	0x55BD:              {"MaxFALL", Uint, 0x55B0},
	0x7670:              {"Projection", Master, IDVideo},
	IDAudio:             {"Audio", Master, IDTrackEntry},
	IDSamplingFrequency: {"SamplingFrequency", Float, IDAudio},
	0x78B5:              {"OutputSamplingFrequency", Float, IDAudio},
	IDChannels:          {"Channels", Uint, IDAudio},
	IDBitDepth:          {"BitDepth", Uint, IDAudio},
	0x6D80:              {"ContentEncodings", Master, IDTrackEntry},
	0x6240:              {"ContentEncoding", Master, 0x6D80},
	0x5031:              {"ContentEncodingOrder", Uint, 0x6240},
	0x5032:              {"ContentEncodingScope", Uint, 0x6240},
	0x5033:              {"ContentEncodingType", Uint, 0x6240},
	0x5034:              {"ContentCompression", Master, 0x6240},
	0x4254:              {"ContentCompAlgo", Uint, 0x5034},
	0x4255:              {"ContentCompSettings", Binary, 0x5034},

	IDCluster:        {"Cluster", Master, IDSegment},
	IDTimestamp:      {"Timestamp", Uint, IDCluster},
	IDPosition:       {"Position", Uint, IDCluster},
	IDPrevSize:       {"PrevSize", Uint, IDCluster},
	IDSimpleBlock:    {"SimpleBlock", block, IDCluster},
	IDBlockGroup:     {"BlockGroup", Master, IDCluster},
	IDBlock:          {"Block", block, IDBlockGroup},
	0x75A1:           {"BlockAdditions", Master, IDBlockGroup},
	0xA6:             {"BlockMore", Master, 0x75A1},
	0xEE:             {"BlockAddID", Uint, 0xA6},
	0xA5:             {"BlockAdditional", Opaque, 0xA6},
	IDBlockDuration:  {"BlockDuration", Uint, IDBlockGroup},
	0xFA:             {"ReferencePriority", Uint, IDBlockGroup},
	IDReferenceBlock: {"ReferenceBlock", Int, IDBlockGroup},
	0xA4:             {"CodecState", Opaque, IDBlockGroup},
	IDDiscardPadding: {"DiscardPadding", Int, IDBlockGroup},

	IDCues:               {"Cues", Master, IDSegment},
	IDCuePoint:           {"CuePoint", Master, IDCues},
	IDCueTime:            {"CueTime", Uint, IDCuePoint},
	IDCueTrackPositions:  {"CueTrackPositions", Master, IDCuePoint},
	IDCueTrack:           {"CueTrack", Uint, IDCueTrackPositions},
	IDCueClusterPosition: {"CueClusterPosition", Uint, IDCueTrackPositions},
	0xF0:                 {"CueRelativePosition", Uint, IDCueTrackPositions},
	0xB2:                 {"CueDuration", Uint, IDCueTrackPositions},
	0x5378:               {"CueBlockNumber", Uint, IDCueTrackPositions},

	IDTags:             {"Tags", Master, IDSegment},
	IDTag:              {"Tag", Master, IDTags},
	IDTargets:          {"Targets", Master, IDTag},
	0x68CA:             {"TargetTypeValue", Uint, IDTargets},
	0x63CA:             {"TargetType", String, IDTargets},
	idTagTrackUID:      {"TagTrackUID", Uint, IDTargets},
	idTagEditionUID:    {"TagEditionUID", Uint, IDTargets},
	idTagChapterUID:    {"TagChapterUID", Uint, IDTargets},
	idTagAttachmentUID: {"TagAttachmentUID", Uint, IDTargets},
	IDSimpleTag:        {"SimpleTag", Master, IDTag},
	IDTagName:          {"TagName", String, IDSimpleTag},
	0x447A:             {"TagLanguage", String, IDSimpleTag},
	0x447B:             {"TagLanguageBCP47", String, IDSimpleTag},
	0x4484:             {"TagDefault", Uint, IDSimpleTag},
	IDTagString:        {"TagString", String, IDSimpleTag},
	0x4485:             {"TagBinary", Opaque, IDSimpleTag},

	IDChapters:    {"Chapters", Master, IDSegment},
	0x45B9:        {"EditionEntry", Master, IDChapters},
	0x45BC:        {"EditionUID", Uint, 0x45B9},
	0x45BD:        {"EditionFlagHidden", Uint, 0x45B9},
	0x45DB:        {"EditionFlagDefault", Uint, 0x45B9},
	idChapterAtom: {"ChapterAtom", Master, 0x45B9},
	0x73C4:        {"ChapterUID", Uint, idChapterAtom},
	0x91:          {"ChapterTimeStart", Uint, idChapterAtom},
	0x92:          {"ChapterTimeEnd", Uint, idChapterAtom},
	0x98:          {"ChapterFlagHidden", Uint, idChapterAtom},
	0x4598:        {"ChapterFlagEnabled", Uint, idChapterAtom},
	0x80:          {"ChapterDisplay", Master, idChapterAtom},
	0x85:          {"ChapString", String, 0x80},
	0x437C:        {"ChapLanguage", String, 0x80},

	IDAttachments: {"Attachments", Master, IDSegment},
	0x61A7:        {"AttachedFile", Master, IDAttachments},
	0x467E:        {"FileDescription", String, 0x61A7},
	0x466E:        {"FileName", String, 0x61A7},
	0x4660:        {"FileMediaType", String, 0x61A7},
	0x465C:        {"FileData", Opaque, 0x61A7},
	0x46AE:        {"FileUID", Uint, 0x61A7},
}

// Name is an element's name in RFC 9559, or its id in hex when it is unknown.
func Name(id ebml.ID) string {
	if e, ok := schema[id]; ok {
		return e.name
	}
	return id.String()
}

// TypeOf is what the data of an element is; Opaque for an unknown id.
func TypeOf(id ebml.ID) Type {
	t := schema[id].typ
	if t == block {
		return Binary
	}
	return t
}

// childOf says whether an element whose schema parent is parent may stand
// directly inside the element at. SimpleTag and ChapterAtom nest in themselves.
func childOf(id, parent, at ebml.ID) bool {
	return parent == at || parent == anywhere ||
		(id == at && (id == IDSimpleTag || id == idChapterAtom))
}

// structural says whether an element in the wrong place breaks the document,
// instead of being passed over: level 0 and 1, and what only a Cluster has.
func structural(id, parent ebml.ID) bool {
	return parent == 0 || parent == IDSegment || id == IDSimpleBlock || id == IDBlockGroup || id == IDBlock
}
