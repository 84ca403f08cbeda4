/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Client of a live session: sends speech, prints the events, one JSON a line, and writes the media.
 *   live-client URL START PCM OUT EVENT [MESSAGE EVENT]...
 * START is the message "start"; PCM has samples of 16 bits, which are sent at once after "ready",
 * and then "speak_end". The client waits for EVENT, sends MESSAGE, waits for the next EVENT, and
 * ends after the last one; an event "error" ends it with status 1. */
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <stdio.h>
#include <string.h>

#define PIECE 4096

typedef struct
{
  GMainLoop *loop;
  SoupWebsocketConnection *connection;
  char **argv;
  int at; /* index of the event that is waited for */
  FILE *out;
  gboolean failed;
} Client;

static void
end (Client *client, const char *text)
{
  if (text)
    g_printerr ("live-client: %s\n", text);
  client->failed |= text != NULL;
  g_main_loop_quit (client->loop);
}

static void
send_speech (Client *client)
{
  g_autofree char *data = NULL;
  gsize n;

  if (!g_file_get_contents (client->argv[3], &data, &n, NULL))
    end (client, "no speech");
  for (gsize at = 0; data && at < n; at += PIECE)
    soup_websocket_connection_send_binary (client->connection, data + at, MIN (PIECE, n - at));
  soup_websocket_connection_send_text (client->connection, "{\"type\":\"speak_end\"}");
}

static void
take_event (Client *client, const char *type)
{
  if (strcmp (type, "ready") == 0)
    send_speech (client);
  else if (strcmp (type, "error") == 0 && strcmp (client->argv[client->at], "error") != 0)
    end (client, "the event error came");
  if (strcmp (type, client->argv[client->at]) != 0)
    return;
  if (!client->argv[client->at + 1] || !client->argv[client->at + 2]) {
    end (client, NULL);
    return;
  }
  soup_websocket_connection_send_text (client->connection, client->argv[client->at + 1]);
  client->at += 2;
}

static void
on_message (SoupWebsocketConnection *connection, SoupWebsocketDataType type, GBytes *message,
    gpointer data)
{
  Client *client = data;
  gsize n;
  const char *bytes = g_bytes_get_data (message, &n);
  g_autoptr (JsonParser) parser = json_parser_new ();

  if (type == SOUP_WEBSOCKET_DATA_BINARY) {
    fwrite (bytes, 1, n, client->out);
    return;
  }
  if (!json_parser_load_from_data (parser, bytes, n, NULL)) {
    end (client, "an event is no JSON");
    return;
  }
  if (!strstr (bytes, "\"statistics\""))
    g_print ("%.*s\n", (int) n, bytes);
  take_event (client,
      json_object_get_string_member (json_node_get_object (json_parser_get_root (parser)), "type"));
}

static void
on_closed (SoupWebsocketConnection *connection, gpointer data)
{
  const char *reason = soup_websocket_connection_get_close_data (connection);
  g_autofree char *text
      = g_strconcat ("the server has closed the connection: ", reason ? reason : "", NULL);

  end (data, text);
}

static void
on_connected (GObject *source, GAsyncResult *result, gpointer data)
{
  Client *client = data;
  g_autoptr (GError) error = NULL;

  client->connection
      = soup_session_websocket_connect_finish (SOUP_SESSION (source), result, &error);
  if (!client->connection) {
    end (client, error->message);
    return;
  }
  soup_websocket_connection_set_max_incoming_payload_size (client->connection, 64 << 20);
  g_signal_connect (client->connection, "message", G_CALLBACK (on_message), client);
  g_signal_connect (client->connection, "closed", G_CALLBACK (on_closed), client);
  soup_websocket_connection_send_text (client->connection, client->argv[2]);
}

int
main (int argc, char **argv)
{
  Client client = { .loop = g_main_loop_new (NULL, FALSE), .argv = argv, .at = 5 };
  g_autoptr (SoupSession) session = soup_session_new ();
  g_autoptr (SoupMessage) message = argc >= 6 ? soup_message_new ("GET", argv[1]) : NULL;

  client.out = argc >= 6 ? fopen (argv[4], "wb") : NULL;
  if (!message || !client.out) {
    g_printerr ("usage: live-client URL START PCM OUT EVENT [MESSAGE EVENT]...\n");
    return 2;
  }
  soup_session_websocket_connect_async (session, message, NULL, NULL, G_PRIORITY_DEFAULT, NULL,
      on_connected, &client);
  g_main_loop_run (client.loop);
  fclose (client.out);
  if (client.connection)
    g_signal_handlers_disconnect_by_data (client.connection, &client);
  g_clear_object (&client.connection);
  g_main_loop_unref (client.loop);
  return client.failed;
}
