#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application in Python that receives the frames of a talking portrait from the pipeline.

    embed.py SOUND PORTRAIT

Needs python3-gi and gir1.2-gstreamer-1.0 (Debian's names).
"""
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

PIPELINE = """filesrc name=in ! decodebin ! audioconvert ! audioresample ! avataraudioenc
    ! avatardenoise name=denoise ! avatarvaedecode ! video/x-raw,format=RGB
    ! fakesink name=out signal-handoffs=true"""


class Talk:
    def __init__(self, sound, portrait):
        self.loop = GLib.MainLoop()
        self.frames = 0
        self.error = None
        self.pipeline = Gst.parse_launch(PIPELINE)
        self.pipeline.get_by_name("in").set_property("location", sound)
        self.pipeline.get_by_name("denoise").set_property("reference", portrait)
        self.pipeline.get_by_name("out").connect("handoff", self.on_frame)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def on_frame(self, sink, buffer, pad):
        """Runs in a thread of the pipeline. The buffer has height x width x 3 bytes."""
        self.frames += 1

    def on_message(self, bus, message):
        if message.type == Gst.MessageType.WARNING:
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


def main():
    Gst.init(None)
    if len(sys.argv) != 3:
        return "usage: embed.py SOUND PORTRAIT"
    talk = Talk(*sys.argv[1:])
    error = talk.run()
    print(f"{talk.frames} frames")
    return error


if __name__ == "__main__":
    sys.exit(main())
