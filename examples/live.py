#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A live avatar for a voice agent: speaks raw audio that arrives in pieces, is idle while there is
none, changes the prompt and can be interrupted.

    live.py PCM PORTRAIT OUT.mkv

PCM has 16-bit little-endian samples, 16 kHz, mono; - is standard input. Needs python3-gi and
gir1.2-gstreamer-1.0 (Debian's names).
"""
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

PIPELINE = """appsrc name=speech format=time block=true max-bytes=320000
        caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved
    ! avatarbin name=avatar continuous=true profile=live steps=1
    avatar.video ! queue ! videoconvert ! x264enc tune=zerolatency ! mux.
    avatar.audio ! queue ! audioconvert ! audioresample ! audiofirfilter latency=1024 ! avenc_aac ! mux.
    matroskamux name=mux ! filesink name=out"""


class Avatar:
    def __init__(self, portrait, out):
        self.loop = GLib.MainLoop()
        self.error = None
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.speech = self.pipeline.get_by_name("speech")
        self.avatar = self.pipeline.get_by_name("avatar")
        self.avatar.set_property("reference", portrait)
        self.pipeline.get_by_name("out").set_property("location", out)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def say(self, pcm):
        """Queues bytes of audio. Waits while the queue (10 s) is full. From any thread."""
        self.speech.emit("push-buffer", Gst.Buffer.new_wrapped(pcm))

    def interrupt(self):
        """Drops the audio that is queued, and what is not yet in the video."""
        self.speech.send_event(Gst.Event.new_flush_start())
        self.speech.send_event(Gst.Event.new_flush_stop(False))
        clear = Gst.Structure.new_empty("avatar-clear")
        self.avatar.send_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM_OOB, clear))

    def set_prompt(self, prompt):
        """Takes effect with the next window; the message avatar-settings has its time."""
        self.avatar.set_property("prompt", prompt)

    def end(self):
        """Ends the stream when all queued audio has been taken."""
        if self.speech.get_property("current-level-bytes") > 0:
            return GLib.SOURCE_CONTINUE
        self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_REMOVE

    def on_message(self, bus, message):
        if message.type == Gst.MessageType.ELEMENT:
            structure = message.get_structure()
            if structure.get_name() in ("avatar-settings", "avatar-cleared"):
                print(structure.to_string())
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()
        elif message.type == Gst.MessageType.WARNING:
            print("warning:", message.parse_warning()[0].message, file=sys.stderr)
        elif message.type == Gst.MessageType.ERROR:
            self.error = message.parse_error()[0].message
            self.loop.quit()
        elif message.type == Gst.MessageType.EOS:
            self.loop.quit()

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return self.error


def read_speech(avatar, pcm):
    with open("/dev/stdin" if pcm == "-" else pcm, "rb") as file:
        while piece := file.read(1280):
            avatar.say(piece)
    GLib.timeout_add(1000, avatar.end)


def main():
    Gst.init(None)
    if len(sys.argv) != 4:
        return "usage: live.py PCM PORTRAIT OUT.mkv"
    pcm, portrait, out = sys.argv[1:]
    avatar = Avatar(portrait, out)
    avatar.set_prompt("A friendly person talks")
    threading.Thread(target=read_speech, args=(avatar, pcm), daemon=True).start()
    return avatar.run()


if __name__ == "__main__":
    sys.exit(main())
