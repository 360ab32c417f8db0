package video.sluice.compat;

import com.amazonaws.kinesisvideo.client.KinesisVideoClient;
import com.amazonaws.kinesisvideo.client.KinesisVideoClientConfiguration;
import com.amazonaws.kinesisvideo.java.auth.JavaCredentialsProviderImpl;
import com.amazonaws.kinesisvideo.java.client.KinesisVideoJavaClientFactory;
import com.amazonaws.kinesisvideo.java.mediasource.file.ImageFileMediaSource;
import com.amazonaws.kinesisvideo.java.mediasource.file.ImageFileMediaSourceConfiguration;
import com.amazonaws.kinesisvideo.producer.ClientInfo;
import com.amazonaws.kinesisvideo.producer.DeviceInfo;
import com.amazonaws.kinesisvideo.producer.StorageInfo;
import com.amazonaws.kinesisvideo.producer.Tag;
import java.io.File;
import java.util.concurrent.Executors;

/** The official Java producer: its image file source streams the frames of a folder, 25 a second, until standard input ends. */
final class Produce {
    private Produce() {
    }

    static void run(String stream, String frames) throws Exception {
        // The producer's own loader looks in java.library.path; whether the library fits this system is seen here.
        try {
            System.loadLibrary("KinesisVideoProducerJNI");
        } catch (UnsatisfiedLinkError e) {
            System.out.printf("{\"unloadable\":\"%s\"}%n", e.getMessage().replace('"', '\''));
            return;
        }

        int last = new File(frames).list().length;
        KinesisVideoClient client = KinesisVideoJavaClientFactory.createKinesisVideoClient(
                KinesisVideoClientConfiguration.builder()
                        .withRegion(Main.REGION.getName())
                        .withCredentialsProvider(new JavaCredentialsProviderImpl(Main.KEYS))
                        .withEndpoint(Main.ENDPOINT)
                        .build(),
                new DeviceInfo(0, "compat", new StorageInfo(0, StorageInfo.DeviceStorageType.DEVICE_STORAGE_TYPE_IN_MEM,
                        64 << 20, 90, "/tmp"), 10, new Tag[] {new Tag("device", "compat")},
                        "compat", new ClientInfo()),
                Executors.newScheduledThreadPool(2));
        ImageFileMediaSource source = new ImageFileMediaSource(stream);
        source.configure(new ImageFileMediaSourceConfiguration.Builder()
                .fps(25)
                .dir(frames + "/")
                .filenameFormat("frame-%03d.h264")
                .startFileIndex(1)
                .endFileIndex(last)
                .contentType("video/h264")
                .build());
        client.registerMediaSource(source);
        source.start();
        while (System.in.read() >= 0) {
            // whoever started this closes it when enough has arrived
        }
        // Stopping this producer hangs now and then, against any service, and freeing it often crashes its native
        // core: what was streamed by now is what is looked at.
        Thread stop = new Thread(() -> {
            try {
                source.stop();
            } catch (Exception e) {
                System.err.println(e);
            }
        });
        stop.setDaemon(true);
        stop.start();
        stop.join(5_000);
        System.out.printf("{\"produced\":true}%n");
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
