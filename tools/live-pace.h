/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include <gst/gst.h>

/* Stamps the raw audio that leaves the pad "src" of @element by the clock of @pipeline: sound that
 * arrives faster than it is spoken follows without gaps, and after a pause it begins anew. The end
 * of this audio is sent to the whole pipeline. Returns FALSE if there is no such pad. */
gboolean avatar_live_pace (GstElement *element, GstElement *pipeline);
