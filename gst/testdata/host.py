# Host programs for the tests: host.py SCENARIO [stream]. What happened goes to
# standard output, a JSON object a line.
import json, os, sys, threading, time
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst, GLib

Gst.init(None)
PATIENCE = 240  # seconds, for what takes one or two
stream = sys.argv[2] if len(sys.argv) > 2 else "py"


saying = threading.Lock()


# Signals come on the element's threads: two lines must not run into each other.
def say(kind, **fields):
    with saying:
        print(json.dumps(dict(kind=kind, **fields)), flush=True)


def value(s, field):
    v = s.get_value(field)
    return v if isinstance(v, (int, float, str, bool)) else str(v)


def fields(s):
    return {s.nth_field_name(i): value(s, s.nth_field_name(i)) for i in range(s.n_fields())}


def pipeline(text):
    p = Gst.parse_launch(text)
    counts = {}
    for e in [e for e in p.children if e.get_factory().get_name() == "kvssink"]:
        for pad in e.sinkpads:
            counts[pad.get_name()] = 0

            def probe(pad, info):
                counts[pad.get_name()] += 1
                return Gst.PadProbeReturn.OK

            pad.add_probe(Gst.PadProbeType.BUFFER, probe)
    p.counts = counts
    return p


# wait returns the first message of a kind; what comes before is told.
def wait(p, seconds, *want):
    bus, end = p.get_bus(), time.time() + seconds
    while time.time() < end:
        m = bus.timed_pop_filtered(200 * Gst.MSECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR | Gst.MessageType.WARNING | Gst.MessageType.ELEMENT)
        if m is None:
            continue
        name = {Gst.MessageType.EOS: "eos", Gst.MessageType.ERROR: "error", Gst.MessageType.WARNING: "warning"}.get(m.type, "element")
        if name == "eos":
            say("eos")
        elif name == "element":
            s = m.get_structure()
            name = s.get_name()
            say(name, **fields(s))
        else:
            e, debug = m.parse_error() if name == "error" else m.parse_warning()
            say(name, text=e.message, debug=debug)
        if name in want:
            return name
    say("timeout", want=list(want))
    return None


def play(p):
    at = time.time()
    p.set_state(Gst.State.PLAYING)
    say("playing", took=time.time() - at)


def end(p, seconds=PATIENCE):
    p.send_event(Gst.Event.new_eos())
    wait(p, seconds, "eos", "error")
    stop(p)


def stop(p):
    at = time.time()
    p.set_state(Gst.State.NULL)
    say("stopped", took=time.time() - at, counts=p.counts)


VIDEO = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! x264enc bframes=0 tune=zerolatency speed-preset=ultrafast key-int-max=15 ! queue ! kvssink name=k stream-name=%s " % stream
AUDIO = "audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! queue ! "


def frames(p, n, pad="video_0", seconds=PATIENCE):
    limit = time.time() + seconds
    while p.counts[pad] < n and time.time() < limit:
        time.sleep(0.02)


def signals():
    p = pipeline(VIDEO + "get-kvs-metrics=true")
    k = p.get_by_name("k")
    seen = {}
    lock = threading.Lock()

    def note(name, s=None):
        with lock:
            seen[name] = seen.get(name, 0) + 1
            if seen[name] == 1:
                say("signal", name=name, fields=fields(s) if s else {})

    k.connect("fragment-ack", lambda e, ack: note("fragment-ack"))
    k.connect("ack", lambda e, s: note("ack", s))
    k.connect("stream-client-metric", lambda e, s: note("stream-client-metric", s))
    k.connect("stream-error", lambda e, status: note("stream-error"))
    play(p)
    wait(p, PATIENCE, "kvs-connected")
    frames(p, 60)
    end(p)
    say("seen", **seen)


def events():
    p = pipeline(VIDEO)
    k = p.get_by_name("k")

    def send(text, to=k):
        s, _ = Gst.Structure.from_string(text), None
        say("sent", ok=to.send_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, s[0] if isinstance(s, tuple) else s)))

    send("kvs-add-metadata, name=(string)early, value=(string)null, persist=(boolean)false;")  # in NULL: refused, no crash
    p.set_state(Gst.State.READY)
    send("kvs-add-metadata, name=(string)site, value=(string)north, persist=(boolean)true;")
    play(p)
    frames(p, 20)
    send("kvs-add-metadata, name=(string)door, value=(string)open, persist=(boolean)false;")
    send("kvs-add-metadata, name=(string)AWS_X, value=(string)no, persist=(boolean)false;")
    send("kvs-add-image, prefix=(string)cam7;")
    frames(p, 50)
    # through the pipeline, as an element upstream would
    p.get_by_name("k").get_static_pad("video_0").get_peer().push_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, Gst.Structure.new_empty("kvs-add-notification")))
    frames(p, 80)
    s = Gst.Structure.new_empty("kvs-add-event")
    s.set_value("kinds", 3)
    send(s.to_string())
    frames(p, 110)
    end(p)


def failing(stop_on_error):
    p = pipeline(VIDEO + "allow-create-stream=false restart-on-error=false stop-on-error=%s" % stop_on_error)
    p.get_by_name("k").connect("stream-error", lambda e, status: say("signal", name="stream-error", status=status))
    play(p)
    wait(p, PATIENCE, "error", "warning")
    n = p.counts["video_0"]
    if stop_on_error == "false":
        frames(p, n + 20)
    say("went-on", frames=p.counts["video_0"] - n)
    stop(p)


def pause():
    p = pipeline(VIDEO)
    play(p)
    frames(p, 40)
    p.set_state(Gst.State.PAUSED)
    p.get_state(Gst.CLOCK_TIME_NONE)
    say("paused", at=time.time())
    time.sleep(2)
    p.set_state(Gst.State.PLAYING)
    say("resumed", at=time.time())
    n = p.counts["video_0"]
    frames(p, n + 40)
    end(p)


# A recording is held while the pipeline is paused.
def pausefile():
    p = pipeline(VIDEO.replace("is-live=true", "").replace("! queue !", "! identity sync=true ! queue !"))
    play(p)
    frames(p, 40)
    p.set_state(Gst.State.PAUSED)
    p.get_state(Gst.CLOCK_TIME_NONE)
    time.sleep(0.5)
    n = p.counts["video_0"]
    time.sleep(1)
    say("held", frames=p.counts["video_0"] - n)
    p.set_state(Gst.State.PLAYING)
    frames(p, n + 40)
    end(p)


def flush():
    p = pipeline(VIDEO.replace("is-live=true", "").replace("! queue !", "! identity sync=true ! queue !"))
    play(p)
    frames(p, 40)
    say("seek", ok=p.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH, 5 * Gst.SECOND))
    n = p.counts["video_0"]
    frames(p, n + 40)
    end(p)


def gap():
    p = pipeline(VIDEO + AUDIO + "valve name=v drop-mode=transform-to-gap ! k.")
    play(p)
    frames(p, 45)
    p.get_by_name("v").set_property("drop", True)
    frames(p, 135)
    p.get_by_name("v").set_property("drop", False)
    frames(p, 180)
    end(p)


def caps():
    p = pipeline(VIDEO.replace("width=320,height=240,framerate=30/1", "framerate=30/1 ! videoscale ! capsfilter name=c caps=video/x-raw,width=320,height=240"))
    play(p)
    frames(p, 40)
    p.get_by_name("c").set_property("caps", Gst.Caps.from_string("video/x-raw,width=640,height=480"))
    frames(p, 90)
    end(p)


# The sound ends long before the picture: the end is that of both.
def eos():
    p = pipeline(VIDEO.replace("is-live=true", "is-live=true num-buffers=90") + AUDIO.replace("samplesperbuffer", "num-buffers=40 samplesperbuffer") + "k.")
    play(p)
    wait(p, PATIENCE, "eos", "error")
    stop(p)


# Nobody is there who persists: EOS comes at the deadline.
def deadline():
    p = pipeline(VIDEO + "stop-stream-timeout=3")
    play(p)
    frames(p, 20)
    at = time.time()
    p.send_event(Gst.Event.new_eos())
    wait(p, PATIENCE, "eos")
    say("waited", took=time.time() - at)
    stop(p)


# Plays with properties of its own until all the messages that are wanted came.
def messages():
    p = pipeline(VIDEO + sys.argv[3])
    want = set(sys.argv[4].split(","))
    play(p)
    while want:
        got = wait(p, PATIENCE, "error", *want)
        if got is None or got == "error":
            break
        want.discard(got)
    stop(p)


# The same as fast as it goes.
def fast():
    global VIDEO
    VIDEO = VIDEO.replace("is-live=true", "")
    messages()


# The same with pictures that no encoder makes smaller.
def large():
    global VIDEO
    VIDEO = VIDEO.replace("videotestsrc", "videotestsrc pattern=snow").replace("speed-preset=ultrafast", "speed-preset=ultrafast pass=quant quantizer=0")
    messages()


def absent():
    p = pipeline(VIDEO)
    play(p)
    wait(p, PATIENCE, "kvs-reconnect")
    sys.stdin.readline()
    wait(p, PATIENCE, "kvs-connected")
    n = p.counts["video_0"]
    frames(p, n + 40)
    end(p)


def latepad():
    p = pipeline(VIDEO)
    play(p)
    frames(p, 45)
    k = p.get_by_name("k")
    b = Gst.parse_bin_from_description("audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! queue", True)
    p.add(b)
    pad = k.request_pad_simple("audio_%u")
    say("second", refused=k.request_pad_simple("audio_%u") is None)
    b.get_static_pad("src").link(pad)
    b.sync_state_with_parent()
    n = p.counts["video_0"]
    frames(p, n + 120)
    b.set_state(Gst.State.NULL)
    k.release_request_pad(pad)
    p.remove(b)
    n = p.counts["video_0"]
    frames(p, n + 30)
    end(p)


def status():
    return {l.split(":")[0]: int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(("VmRSS", "Threads"))}


def cycles():
    for i in range(30):
        p = pipeline(VIDEO if i % 2 else VIDEO + AUDIO + "k.")
        p.set_state(Gst.State.PLAYING)
        if i % 3 == 0:
            frames(p, 10)
        p.set_state(Gst.State.NULL)
        del p
        if i in (9, 29):
            say("cycle", n=i, **status())


# A handler of a signal stops the pipeline it came from.
def selfstop():
    p = pipeline(VIDEO)
    done = threading.Event()

    def ack(e, s):
        if not done.is_set():
            p.set_state(Gst.State.NULL)
            done.set()

    p.get_by_name("k").connect("ack", ack)
    play(p)
    say("done", ok=done.wait(PATIENCE))


def soak():
    outage(VIDEO + "buffer-duration=180 " + AUDIO + "k.")


def outage(text=VIDEO + "buffer-duration=180"):
    p = pipeline(text)

    def told(bus, m):
        if m.type == Gst.MessageType.ELEMENT:
            say(m.get_structure().get_name())
        return Gst.BusSyncReply.PASS

    p.get_bus().set_sync_handler(told)
    play(p)
    while sys.stdin.readline().strip() != "end":
        frames(p, p.counts["video_0"] + 40)
        say("frames", n=p.counts["video_0"])
    p.get_bus().set_sync_handler(None)
    end(p)


def src(*elements):
    p = Gst.parse_launch(" ".join(elements))
    p.counts = {}
    return p


# Reads a stream: each buffer's pad, pts, size and checksum.
def read():
    import hashlib
    p = src("kvssrc name=s stream-name=%s %s" % (stream, " ".join(sys.argv[3:])))
    s, lock = p if p.get_name() == "s" else p.get_by_name("s"), threading.Lock()
    box = Gst.Pipeline()
    if p is s:
        box.add(s)
        p = box
        p.counts = {}

    def added(e, pad):
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("sync", False)
        p.add(sink)
        sink.sync_state_with_parent()
        name = pad.get_name()

        def probe(pad, info):
            if info.type & Gst.PadProbeType.EVENT_DOWNSTREAM:
                e = info.get_event()
                if e.type == Gst.EventType.CAPS:
                    say("caps", pad=name, caps=e.parse_caps().to_string())
                return Gst.PadProbeReturn.OK
            b = info.get_buffer()
            ok, m = b.map(Gst.MapFlags.READ)
            with lock:
                say("buffer", pad=name, pts=b.pts, wall=b.offset, key=not b.has_flags(Gst.BufferFlags.DELTA_UNIT), md5=hashlib.md5(m.data).hexdigest())
            b.unmap(m)
            return Gst.PadProbeReturn.OK

        caps = pad.get_current_caps()
        say("caps", pad=name, caps=caps.to_string() if caps else "")
        pad.add_probe(Gst.PadProbeType.BUFFER | Gst.PadProbeType.EVENT_DOWNSTREAM, probe)
        pad.link(sink.get_static_pad("sink"))

    s.connect("pad-added", added)
    s.connect("no-more-pads", lambda e: say("no-more-pads"))
    play(p)
    p.s = s
    return p


def readall():
    p = read()
    wait(p, PATIENCE, "eos", "error")
    stop(p)


def seek():
    p = read()
    wait(p, PATIENCE, "eos", "error")
    ok = p.s.srcpads[0].send_event(Gst.Event.new_seek(1.0, Gst.Format.TIME, Gst.SeekFlags.FLUSH, Gst.SeekType.SET, int(1.3 * Gst.SECOND), Gst.SeekType.NONE, -1))
    say("seek", ok=ok)
    wait(p, PATIENCE, "eos", "error")
    stop(p)


def follow():
    p = read()
    while sys.stdin.readline().strip() != "end":
        pass
    stop(p)


def sourcecycles():
    for i in range(30):
        p = src("kvssrc name=s stream-name=%s start-at=%s ! fakesink sync=false" % (stream, "earliest" if i % 2 else "now"))
        p.set_state(Gst.State.PLAYING)
        if i % 3 == 0:
            time.sleep(0.1)
        p.set_state(Gst.State.NULL)
        del p
        if i in (9, 29):
            say("cycle", n=i, **status())


{
    "failing": lambda: failing("true"), "tolerant": lambda: failing("false"),
    **{f.__name__: f for f in (signals, events, pause, pausefile, flush, gap, caps, eos, deadline, messages, fast, large, absent, latepad, cycles, selfstop, outage, soak, readall, seek, follow, sourcecycles)},
}[sys.argv[1]]()
say("over")
