/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Registers the elements. This never depends on devices or models, which are opened in
 * READY to PAUSED: the registry caches the result. */
#include <gst/gst.h>

#include "gst/gstavataraudioenc.h"
#include "gst/gstavatarbin.h"
#include "gst/gstavatardenoise.h"
#include "gst/gstavatarvaedecode.h"

static gboolean
plugin_init (GstPlugin *plugin)
{
  gboolean ret = FALSE;

  ret |= GST_ELEMENT_REGISTER (avataraudioenc, plugin);
  ret |= GST_ELEMENT_REGISTER (avatardenoise, plugin);
  ret |= GST_ELEMENT_REGISTER (avatarvaedecode, plugin);
  ret |= GST_ELEMENT_REGISTER (avatarbin, plugin);
  return ret;
}

GST_PLUGIN_DEFINE (GST_VERSION_MAJOR, GST_VERSION_MINOR, avatar,
    "Talking video from speech and a portrait", plugin_init, VERSION, "LGPL", GST_PACKAGE_NAME,
    GST_PACKAGE_ORIGIN)
