// SPDX-License-Identifier: LGPL-2.1-or-later
// Audio worklet: hands the samples of the microphone to the page in pieces of 40 ms, 16 bits.
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 25));
    this.n = 0;
  }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.piece[this.n++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.n === this.piece.length) {
        this.port.postMessage(this.piece.slice().buffer);
        this.n = 0;
      }
    }
    return true;
  }
}

registerProcessor('microphone', Microphone);
