package video.sluice.compat;

import com.amazonaws.kinesisvideo.parser.mkv.Frame;
import com.amazonaws.kinesisvideo.parser.mkv.FrameProcessException;
import com.amazonaws.kinesisvideo.parser.mkv.MkvElementVisitor;
import com.amazonaws.kinesisvideo.parser.utilities.FragmentMetadata;
import com.amazonaws.kinesisvideo.parser.utilities.FragmentMetadataVisitor;
import com.amazonaws.kinesisvideo.parser.utilities.FrameVisitor;
import com.amazonaws.kinesisvideo.parser.utilities.MkvTag;
import com.amazonaws.kinesisvideo.parser.utilities.MkvTrackMetadata;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;

/** Prints what the parser library makes of a stream: a line a frame, and one a tag of the producer. */
final class Printer implements FrameVisitor.FrameProcessor, FragmentMetadataVisitor.MkvTagProcessor {
    private final CountDownLatch enough;
    private final int fragments;
    private BigInteger last = BigInteger.ZERO;
    private int seen;

    Printer(CountDownLatch enough, int fragments) {
        this.enough = enough;
        this.fragments = fragments;
    }

    MkvElementVisitor visitor() {
        return FrameVisitor.create(this, Optional.of(this));
    }

    @Override
    public void process(Frame f, MkvTrackMetadata track, Optional<FragmentMetadata> fragment,
            Optional<FragmentMetadataVisitor.MkvTagProcessor> tags) throws FrameProcessException {
        try {
            ByteBuffer data = f.getFrameData().duplicate();
            byte[] payload = new byte[data.remaining()];
            data.get(payload);
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(payload);
            FragmentMetadata m = fragment.orElseThrow();
            System.out.printf("{\"fragment\":\"%s\",\"server\":%d,\"producer\":%d,\"track\":%d,\"key\":%b,\"size\":%d,\"sha256\":\"%064x\"}%n",
                    m.getFragmentNumberString(), m.getServerSideTimestampMillis(), m.getProducerSideTimestampMillis(),
                    f.getTrackNumber(), f.isKeyFrame(), payload.length, new BigInteger(1, sum));
            if (!m.getFragmentNumber().equals(last)) {
                last = m.getFragmentNumber();
                seen++;
            }
            if (enough != null && seen >= fragments) {
                System.out.flush();
                enough.countDown();
            }
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new FrameProcessException("no SHA-256", e);
        }
    }

    @Override
    public void process(MkvTag tag, Optional<FragmentMetadata> fragment) {
        System.out.printf("{\"tag\":\"%s\",\"value\":\"%s\",\"of\":\"%s\"}%n", tag.getTagName(), tag.getTagValue(),
                fragment.map(FragmentMetadata::getFragmentNumberString).orElse(""));
    }

    @Override
    public void clear() {
        // Called at the end of a fragment; what we printed stays printed.
    }

    @Override
    public void close() {
        System.out.flush();
    }
}
