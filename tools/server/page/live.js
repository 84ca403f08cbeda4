// SPDX-License-Identifier: LGPL-2.1-or-later
// The tab Live: the microphone in by a WebSocket, the avatar out by MP4 in it or by WebRTC.
import { request, errorText, fileArea } from './page.js';

const $ = id => document.getElementById(id);
// Loudness above which a piece of 40 ms is speech, and pause (ms) that ends a speech.
const SPEECH_LEVEL = 0.02, PAUSE = 600;
// Buffered time (s) beyond which the player jumps to the newest picture.
const LONGEST_BUFFER = 1.5;
let portrait = null, session = null;

fileArea('live-image-drop', 'live-image', file => portrait = file);

function showEvent(text) {
  const row = document.createElement('li');
  row.textContent = `${new Date().toLocaleTimeString()} ${text}`;
  $('live-events').prepend(row);
  while ($('live-events').childElementCount > 100)
    $('live-events').lastChild.remove();
}

// -------------------------------------------------------------------------------------- players
// Plays fragments of MP4 as they come.
class FragmentPlayer {
  constructor(video, mime) {
    this.video = video;
    this.waiting = [];
    this.source = new MediaSource();
    video.src = URL.createObjectURL(this.source);
    this.source.addEventListener('sourceopen', () => {
      this.buffer = this.source.addSourceBuffer(mime);
      this.buffer.addEventListener('updateend', () => this.next());
      this.next();
    });
  }

  push(data) {
    this.waiting.push(data);
    this.next();
  }

  next() {
    const buffer = this.buffer;
    if (!buffer || buffer.updating || this.source.readyState !== 'open')
      return;
    const ranges = this.video.buffered, n = ranges.length;
    if (n) {
      const end = ranges.end(n - 1), start = ranges.start(n - 1);
      if (this.video.currentTime < start || end - this.video.currentTime > LONGEST_BUFFER)
        this.video.currentTime = Math.max(start, end - 0.2);
      if (ranges.start(0) < this.video.currentTime - 20) {
        buffer.remove(0, this.video.currentTime - 10);
        return;
      }
    }
    if (this.waiting.length)
      buffer.appendBuffer(this.waiting.shift());
  }

  get delay() {
    const ranges = this.video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) - this.video.currentTime : 0;
  }

  close() {
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute('src');
    this.video.load();
  }
}

class RtcPlayer {
  constructor(video) {
    this.video = video;
    this.connection = new RTCPeerConnection();
    this.stream = new MediaStream();
    this.delay = 0;
    video.srcObject = this.stream;
    this.connection.addEventListener('track', event => this.stream.addTrack(event.track));
    for (const kind of ['video', 'audio'])
      this.connection.addTransceiver(kind, { direction: 'recvonly' });
  }

  async open(path) {
    await this.connection.setLocalDescription(await this.connection.createOffer());
    const reply = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/sdp' },
      body: this.connection.localDescription.sdp });
    if (!reply.ok)
      throw (await reply.json()).error;
    await this.connection.setRemoteDescription({ type: 'answer', sdp: await reply.text() });
  }

  close() {
    this.connection.close();
    this.video.srcObject = null;
  }
}

// ----------------------------------------------------------------------------------- microphone
async function openMicrophone(send) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext();
  await context.audioWorklet.addModule('microphone.js');
  const node = new AudioWorkletNode(context, 'microphone', { numberOfOutputs: 0, channelCount: 1 });
  context.createMediaStreamSource(stream).connect(node);
  node.port.addEventListener('message', event => send(event.data));
  node.port.start();
  return {
    rate: context.sampleRate,
    close: () => {
      stream.getTracks().forEach(track => track.stop());
      context.close();
    },
  };
}

function isSpeech(data) {
  const samples = new Int16Array(data);
  let sum = 0;
  for (const sample of samples)
    sum += sample * sample;
  return Math.sqrt(sum / samples.length) / 32768 > SPEECH_LEVEL;
}

// -------------------------------------------------------------------------------------- session
class Session {
  constructor() {
    this.speaking = false;
    this.muted = false;
    this.ready = false;
    this.begun = [0];
  }

  async open() {
    this.microphone = await openMicrophone(data => this.speak(data));
    let id;
    if (portrait)
      ({ id } = await request('/api/portraits', { method: 'POST', body: portrait }));
    this.socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/live`);
    this.socket.binaryType = 'arraybuffer';
    this.socket.addEventListener('open', () => this.send({
      type: 'start', portrait: id, output: $('live-output').value, profile: $('live-profile').value,
      steps: $('live-steps').value || undefined, sample_rate: this.microphone.rate,
    }));
    this.socket.addEventListener('message', event => typeof event.data === 'string'
      ? this.take(JSON.parse(event.data)) : this.player?.push(event.data));
    this.timer = setInterval(() => this.send({ type: 'keep_alive' }), 60000);
    this.socket.addEventListener('close', event => {
      if (session === this)
        stop(event.reason || 'The connection has ended.');
    });
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN)
      this.socket.send(JSON.stringify(message));
  }

  // Only speech is sent; the face is idle in between.
  speak(data) {
    if (!this.ready || this.muted)
      return;
    const now = performance.now();
    if (isSpeech(data)) {
      this.heard = now;
      // The server counts the speeches from 1, too.
      if (!this.speaking)
        this.begun.push(now);
      this.speaking = true;
    }
    if (this.speaking && this.socket.readyState === WebSocket.OPEN)
      this.socket.send(data);
    if (this.speaking && now - this.heard > PAUSE)
      this.speakEnd();
  }

  speakEnd() {
    if (this.speaking)
      this.send({ type: 'speak_end' });
    this.speaking = false;
  }

  interrupt() {
    this.speaking = false;
    this.send({ type: 'interrupt' });
  }

  async take(event) {
    switch (event.type) {
      case 'ready':
        this.player = event.mime ? new FragmentPlayer($('live-video'), event.mime) : new RtcPlayer($('live-video'));
        this.ready = true;
        $('live-state').textContent = 'listening';
        $('live-talk').disabled = $('live-interrupt').disabled = false;
        if (event.whep)
          await this.player.open(event.whep).catch(error => stop(errorText(error)));
        break;
      case 'statistics':
        this.showStatistics(event);
        return;
      case 'error':
        $('live-error').textContent = errorText(event.error);
        break;
      case 'speak_started':
        $('live-state').textContent = 'speaking';
        this.latency = (performance.now() - this.begun[event.id]) / 1000;
        break;
      case 'speak_ended':
      case 'interrupted':
        $('live-state').textContent = 'listening';
    }
    const position = event.position === undefined || event.position === null ? '' : ` at ${event.position.toFixed(2)} s`;
    showEvent(`${event.type}${position}${event.warning ? `: ${event.warning.message}` : ''}`);
  }

  showStatistics(event) {
    const speeds = Object.values(event.speed).filter(speed => speed > 0);
    const mouth = this.latency ? `; microphone to mouth ${(this.latency + this.player.delay).toFixed(2)} s` : '';
    $('live-latency').textContent = `${event.latency === null ? '–' : event.latency.toFixed(2)} s in the pipeline,`
      + ` ${this.player.delay.toFixed(2)} s buffered${mouth}`;
    $('live-speed').textContent = speeds.length ? `${Math.min(...speeds).toFixed(1)} × real time` : '–';
  }

  close() {
    clearInterval(this.timer);
    this.socket?.close();
    this.player?.close();
    this.microphone?.close();
  }
}

async function start() {
  $('live-error').textContent = '';
  session = new Session();
  $('live-start').textContent = 'Stop';
  $('live-state').textContent = 'starting';
  const mine = session;
  try {
    await mine.open();
  } catch (error) {
    if (session === mine)
      stop(error.name === 'NotFoundError' || error.name === 'NotAllowedError'
        ? `There is no microphone: ${error.message}` : errorText(error));
  }
}

function stop(reason = '') {
  const ended = session;
  session = null;
  ended?.close();
  if (reason && !$('live-error').textContent)
    $('live-error').textContent = reason;
  $('live-start').textContent = 'Start';
  $('live-state').textContent = 'stopped';
  $('live-talk').disabled = $('live-interrupt').disabled = true;
}

$('live-start').addEventListener('click', () => session ? stop() : start());
$('live-interrupt').addEventListener('click', () => session?.interrupt());
$('live-talk').addEventListener('click', () => {
  session.muted = !session.muted;
  session.speakEnd();
  $('live-talk').setAttribute('aria-pressed', session.muted);
  $('live-talk').textContent = session.muted ? 'Unmute' : 'Mute';
});
