/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/doctor/elements.h"

#include "tools/own-elements.h"

#include <gst/gst.h>
#include <string.h>

#define CORE "libgstreamer1.0-0"
#define BASE "gstreamer1.0-plugins-base"
#define GOOD "gstreamer1.0-plugins-good"
#define BAD "gstreamer1.0-plugins-bad"
#define UGLY "gstreamer1.0-plugins-ugly"
#define LIBAV "gstreamer1.0-libav"
#define NICE "gstreamer1.0-nice"
#define AVATAR "gstreamer1.0-avatar"
#define MOST_ELEMENTS 12

typedef struct
{
  const char *name, *package;
} Element;

typedef enum
{
  TASK_NEEDED,  /* without it nothing can be made */
  TASK_FILE,    /* one task of this kind is needed */
  TASK_FURTHER, /* inputs and outputs besides */
} TaskKind;

typedef struct
{
  const char *what;
  TaskKind kind;
  Element elements[MOST_ELEMENTS];
} Task;

static const Task tasks[] = {
  { "avatar", TASK_NEEDED,
      { { "avataraudioenc", AVATAR }, { "avatardenoise", AVATAR }, { "avatarvaedecode", AVATAR },
          { "avatarbin", AVATAR } } },
  { "audio in", TASK_NEEDED,
      { { "filesrc", CORE }, { "decodebin", BASE }, { "audioconvert", BASE },
          { "audioresample", BASE }, { "audiorate", BASE }, { "videoconvert", BASE },
          { "wavparse", GOOD } } },
  { "MP3, M4A, FLAC in", TASK_FURTHER,
      { { "mpegaudioparse", GOOD }, { "mpg123audiodec", GOOD }, { "qtdemux", GOOD },
          { "avdec_aac", LIBAV }, { "flacparse", GOOD }, { "flacdec", GOOD } } },
  { "Ogg, Matroska in", TASK_FURTHER,
      { { "oggdemux", BASE }, { "vorbisdec", BASE }, { "opusdec", BASE },
          { "matroskademux", GOOD } } },
  { "MP4 out", TASK_FILE,
      { { "x264enc", UGLY }, { "avenc_aac", LIBAV }, { "mp4mux", GOOD }, { "filesink", CORE } } },
  { "Matroska out", TASK_FILE,
      { { "x264enc", UGLY }, { "opusenc", BASE }, { "matroskamux", GOOD }, { "filesink", CORE } } },
  { "RTMP out", TASK_FURTHER,
      { { "x264enc", UGLY }, { "avenc_aac", LIBAV }, { "aacparse", GOOD },
          { "audiofirfilter", GOOD }, { "flvmux", GOOD }, { "rtmp2sink", BAD } } },
  { "SRT out", TASK_FURTHER,
      { { "x264enc", UGLY }, { "avenc_aac", LIBAV }, { "aacparse", GOOD },
          { "audiofirfilter", GOOD }, { "h264parse", BAD }, { "mpegtsmux", BAD },
          { "srtsink", BAD } } },
  { "HLS out", TASK_FURTHER,
      { { "x264enc", UGLY }, { "avenc_aac", LIBAV }, { "aacparse", GOOD },
          { "audiofirfilter", GOOD }, { "h264parse", BAD }, { "mpegtsmux", BAD },
          { "hlssink2", BAD } } },
  { "WebRTC out", TASK_FURTHER,
      { { "x264enc", UGLY }, { "opusenc", BASE }, { "h264parse", BAD }, { "rtph264pay", GOOD },
          { "rtpopuspay", GOOD }, { "webrtcbin", BAD }, { "dtlsenc", BAD }, { "srtpenc", BAD },
          { "nicesink", NICE } } },
  { "microphone, screen", TASK_FURTHER,
      { { "autoaudiosrc", GOOD }, { "autoaudiosink", GOOD }, { "autovideosink", GOOD } } },
};

static gboolean
is_there (const char *name)
{
  g_autoptr (GstElementFactory) factory = gst_element_factory_find (name);

  return factory != NULL;
}

static void
advise (DoctorReport *report, const char *package)
{
  if (strcmp (package, AVATAR) != 0)
    doctor_report_package (report, package);
  else
    doctor_report_advise (report,
        "set GST_PLUGIN_PATH to the folder of libgstavatar.so, or install %s (docs/guide/packages.md)",
        AVATAR);
}

/* Prints a task with its elements. Returns TRUE if all are there. */
static gboolean
check_task (DoctorReport *report, const Task *task)
{
  g_autoptr (GString) found = g_string_new (NULL);
  g_autoptr (GString) missing = g_string_new (NULL);

  for (guint i = 0; i < MOST_ELEMENTS && task->elements[i].name; i++) {
    const Element *element = &task->elements[i];

    if (is_there (element->name)) {
      g_string_append_printf (found, "%s%s", found->len ? ", " : "", element->name);
      continue;
    }
    g_string_append_printf (missing, "%s%s (%s)", missing->len ? ", " : "", element->name,
        element->package);
    advise (report, element->package);
  }
  if (missing->len == 0)
    doctor_report_line (DOCTOR_OK, task->what, "%s", found->str);
  else
    doctor_report_line (DOCTOR_MISSING, task->what, "%s", missing->str);
  return missing->len == 0;
}

gboolean
doctor_elements_check (DoctorReport *report)
{
  gboolean needed = TRUE, file = FALSE;
  guint major, minor, micro, nano;

  gst_version (&major, &minor, &micro, &nano);
  doctor_report_title ("GStreamer %u.%u.%u", major, minor, micro);
  own_elements_find ();
  for (guint i = 0; i < G_N_ELEMENTS (tasks); i++) {
    gboolean good = check_task (report, &tasks[i]);

    needed = needed && (good || tasks[i].kind != TASK_NEEDED);
    file = file || (good && tasks[i].kind == TASK_FILE);
  }
  return needed && file;
}
