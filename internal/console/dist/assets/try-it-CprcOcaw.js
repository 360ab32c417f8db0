import{Qn as e,Zn as t,a as n,b as r,i,l as a,n as o,o as s,r as c}from"./index-DtIR-mpC.js";import{r as l,t as u}from"./code-CX8hp1nr.js";import{t as d}from"./tabs-9dOgHOCf.js";var f=e(t(),1),p=o();function m({stream:e}){let{server:t}=r(),[o,m]=(0,f.useState)(e||`my-stream`),h=location.origin;return(0,p.jsx)(l,{header:(0,p.jsx)(n,{variant:`h1`,description:`Copy, paste, run. The keys are those of your shell: sluice env prints them.`,children:`Try it`}),children:(0,p.jsxs)(c,{size:`l`,children:[(0,p.jsx)(s,{label:`Stream`,children:(0,p.jsx)(i,{value:o,onChange:e=>m(e.detail.value),spellcheck:!1})}),(0,p.jsx)(a,{header:(0,p.jsx)(n,{variant:`h2`,children:`Send`}),children:(0,p.jsx)(d,{tabs:[{id:`file`,label:`A file`,content:(0,p.jsx)(u,{text:`sluice put ${o} video.mkv --create --endpoint-url ${h}`})},{id:`rtsp`,label:`An RTSP camera`,content:(0,p.jsx)(u,{text:`sluice bridge ${o} rtsp://user:password@camera/path --create --endpoint-url ${h}`})},{id:`gst`,label:`GStreamer`,content:(0,p.jsx)(u,{text:`export CONTROL_PLANE_URI=${h}
gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=1280,height=720,framerate=30/1 ! x264enc bframes=0 key-int-max=30 tune=zerolatency ! \\
  h264parse ! video/x-h264,stream-format=avc,alignment=au ! kvssink stream-name=${o} aws-region=${t.region}`})},{id:`ffmpeg`,label:`ffmpeg`,content:(0,p.jsx)(u,{text:`ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -c:v libx264 -tune zerolatency -g 30 -f matroska - | \\
  sluice put ${o} - --create --realtime --endpoint-url ${h}`})}]})}),(0,p.jsx)(a,{header:(0,p.jsx)(n,{variant:`h2`,children:`Read`}),children:(0,p.jsx)(d,{tabs:[{id:`cli`,label:`AWS CLI`,content:(0,p.jsx)(u,{text:`aws kinesis-video-media get-media --endpoint-url ${h} --stream-name ${o} \\
  --start-selector StartSelectorType=EARLIEST out.mkv`})},{id:`python`,label:`Python`,content:(0,p.jsx)(u,{text:`import boto3
media = boto3.client("kinesis-video-media", endpoint_url="${h}", region_name="${t.region}")
answer = media.get_media(StreamName="${o}", StartSelector={"StartSelectorType": "NOW"})
for part in answer["Payload"].iter_chunks():
    print(len(part))`})},{id:`sluice`,label:`sluice`,content:(0,p.jsx)(u,{text:`sluice get ${o} --from -60s -o out.mkv --endpoint-url ${h}\nsluice tap ${o} --endpoint-url ${h}`})}]})}),(0,p.jsx)(a,{header:(0,p.jsx)(n,{variant:`h2`,description:`Ask for a session URL on your server (it needs keys), then give the URL to the page: the URL is all a player needs.`,children:`Embed`}),children:(0,p.jsxs)(c,{size:`m`,children:[(0,p.jsx)(u,{text:`aws kinesis-video-archived-media get-hls-streaming-session-url --endpoint-url ${h} \\
  --stream-name ${o} --playback-mode LIVE --query HLSStreamingSessionURL --output text`}),(0,p.jsx)(d,{tabs:[{id:`hls`,label:`hls.js`,content:(0,p.jsx)(u,{text:`<video id="video" controls autoplay muted></video>
<script src="hls.js"><\/script>
<script>
  const player = new Hls();
  player.loadSource(SESSION_URL);
  player.attachMedia(document.getElementById("video"));
<\/script>`})},{id:`videojs`,label:`video.js`,content:(0,p.jsx)(u,{text:`<link rel="stylesheet" href="video-js.css" />
<video id="video" class="video-js" controls autoplay muted></video>
<script src="video.js"><\/script>
<script>
  videojs("video").src({ src: SESSION_URL, type: "application/x-mpegURL" });
<\/script>`})},{id:`shaka`,label:`Shaka`,content:(0,p.jsx)(u,{text:`<video id="video" controls autoplay muted></video>
<script src="shaka-player.compiled.js"><\/script>
<script>
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.attach(document.getElementById("video")).then(() => player.load(SESSION_URL));
<\/script>`})}]})]})})]})})}export{m as default};