package video.sluice.compat;

import com.amazonaws.auth.AWSCredentialsProvider;
import com.amazonaws.auth.EnvironmentVariableCredentialsProvider;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.kinesisvideo.parser.ebml.InputStreamParserByteSource;
import com.amazonaws.kinesisvideo.parser.examples.GetMediaForFragmentListWorker;
import com.amazonaws.kinesisvideo.parser.examples.GetMediaWorker;
import com.amazonaws.kinesisvideo.parser.examples.ListFragmentWorker;
import com.amazonaws.kinesisvideo.parser.mkv.StreamingMkvReader;
import com.amazonaws.kinesisvideo.parser.utilities.OutputSegmentMerger;
import com.amazonaws.regions.Regions;
import com.amazonaws.services.kinesisvideo.AmazonKinesisVideo;
import com.amazonaws.services.kinesisvideo.AmazonKinesisVideoClientBuilder;
import com.amazonaws.services.kinesisvideo.AmazonKinesisVideoPutMedia;
import com.amazonaws.services.kinesisvideo.AmazonKinesisVideoPutMediaClientBuilder;
import com.amazonaws.services.kinesisvideo.PutMediaAckResponseHandler;
import com.amazonaws.services.kinesisvideo.model.APIName;
import com.amazonaws.services.kinesisvideo.model.AckEvent;
import com.amazonaws.services.kinesisvideo.model.FragmentSelector;
import com.amazonaws.services.kinesisvideo.model.FragmentSelectorType;
import com.amazonaws.services.kinesisvideo.model.FragmentTimecodeType;
import com.amazonaws.services.kinesisvideo.model.GetDataEndpointRequest;
import com.amazonaws.services.kinesisvideo.model.PutMediaRequest;
import com.amazonaws.services.kinesisvideo.model.StartSelector;
import com.amazonaws.services.kinesisvideo.model.StartSelectorType;
import com.amazonaws.services.kinesisvideo.model.TimestampRange;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Date;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * The official Java clients against one server, a verb each. Endpoint, region and keys come from the
 * environment (SLUICE_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). Results are lines of JSON
 * on standard output; the Go test that starts this program compares them.
 */
public final class Main {
    static final String ENDPOINT = System.getenv("SLUICE_ENDPOINT");
    static final Regions REGION = Regions.fromName(System.getenv().getOrDefault("AWS_REGION", "us-west-2"));
    static final AWSCredentialsProvider KEYS = new EnvironmentVariableCredentialsProvider();

    public static void main(String[] args) throws Exception {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        System.setProperty("org.slf4j.simpleLogger.logFile", "System.err");
        switch (args[0]) {
            case "put":
                put(args[1], args[2], args[3]);
                break;
            case "get":
                get(args[1], Integer.parseInt(args[2]));
                break;
            case "list":
                archived(args[1]);
                break;
            case "parse":
                try (InputStream in = new FileInputStream(args[1])) {
                    StreamingMkvReader.createDefault(new InputStreamParserByteSource(in)).apply(new Printer(null, 0).visitor());
                }
                break;
            case "merge":
                merge(args[1], args[2]);
                break;
            case "produce":
                Produce.run(args[1], args[2]);
                break;
            default:
                throw new IllegalArgumentException("verbs: put get list parse merge produce");
        }
        System.out.flush();
        // The SDK's netty threads are not daemons.
        System.exit(0);
    }

    static AmazonKinesisVideo client() {
        return AmazonKinesisVideoClientBuilder.standard()
                .withEndpointConfiguration(new EndpointConfiguration(ENDPOINT, REGION.getName()))
                .withCredentials(KEYS)
                .build();
    }

    /** Streams a file with the SDK's PutMedia client and prints each acknowledgement. */
    static void put(String stream, String file, String timecodes) throws Exception {
        String data = client().getDataEndpoint(
                new GetDataEndpointRequest().withAPIName(APIName.PUT_MEDIA).withStreamName(stream)).getDataEndpoint();
        AmazonKinesisVideoPutMedia put = AmazonKinesisVideoPutMediaClientBuilder.standard()
                .withRegion(REGION.getName())
                .withEndpoint(data) // the client adds /putMedia
                .withCredentials(KEYS)
                .withConnectionTimeoutInMillis(120_000)
                .build();
        CountDownLatch done = new CountDownLatch(1);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        try (InputStream in = new FileInputStream(file)) {
            put.putMedia(new PutMediaRequest()
                    .withStreamName(stream)
                    .withFragmentTimecodeType(FragmentTimecodeType.valueOf(timecodes))
                    .withPayload(in)
                    .withProducerStartTimestamp(new Date()), new PutMediaAckResponseHandler() {
                @Override
                public void onAckEvent(AckEvent a) {
                    System.out.printf("{\"ack\":\"%s\",\"timecode\":%d,\"number\":\"%s\",\"error\":%d}%n",
                            a.getAckEventType(), a.getFragmentTimecode(), a.getFragmentNumber(),
                            a.getErrorId() == null ? 0 : a.getErrorId());
                }

                @Override
                public void onFailure(Throwable t) {
                    failure.set(t);
                    done.countDown();
                }

                @Override
                public void onComplete() {
                    done.countDown();
                }
            });
            if (!done.await(600, TimeUnit.SECONDS)) {
                throw new IllegalStateException("PutMedia did not end");
            }
        }
        put.close();
        if (failure.get() != null) {
            throw new IllegalStateException("PutMedia failed", failure.get());
        }
    }

    /** Reads with the parser library's GetMedia worker until it has seen the given number of fragments. */
    static void get(String stream, int fragments) throws Exception {
        CountDownLatch seen = new CountDownLatch(1);
        Printer printer = new Printer(seen, fragments);
        Thread worker = new Thread(GetMediaWorker.create(REGION, KEYS, stream,
                new StartSelector().withStartSelectorType(StartSelectorType.EARLIEST), client(), printer.visitor()));
        worker.setDaemon(true);
        worker.start();
        if (!seen.await(600, TimeUnit.SECONDS)) {
            throw new IllegalStateException("GetMedia gave too few fragments");
        }
    }

    /** Lists with the library's worker, then reads the list with its other one. */
    static void archived(String stream) throws Exception {
        FragmentSelector all = new FragmentSelector()
                .withFragmentSelectorType(FragmentSelectorType.SERVER_TIMESTAMP)
                .withTimestampRange(new TimestampRange().withStartTimestamp(new Date(0)).withEndTimestamp(new Date(System.currentTimeMillis() + 60_000)));
        List<String> numbers = ListFragmentWorker.create(stream, KEYS, REGION, client(), all).call();
        numbers.sort(null);
        for (String n : numbers) {
            System.out.printf("{\"listed\":\"%s\"}%n", n);
        }
        Printer printer = new Printer(null, 0);
        GetMediaForFragmentListWorker.create(stream, numbers, KEYS, REGION, client(), printer.visitor()).run();
    }

    /** Runs the library's merger over a saved GetMedia answer. */
    static void merge(String in, String out) throws Exception {
        try (InputStream from = new FileInputStream(in); OutputStream to = new FileOutputStream(out)) {
            OutputSegmentMerger merger = OutputSegmentMerger.createDefault(to);
            StreamingMkvReader.createDefault(new InputStreamParserByteSource(from)).apply(merger);
            System.out.printf("{\"clusters\":%d,\"segments\":%d,\"blocks\":%d}%n",
                    merger.getClustersCount(), merger.getSegmentsCount(), merger.getSimpleBlocksCount());
        }
    }
}
