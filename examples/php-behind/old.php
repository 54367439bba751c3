<?php
// An existing webhook script: it appends each event to a file. Only the part between the two lines is new: it checks
// that a call comes from our own ingester.

// --- new ---------------------------------------------------------------------------------------------------------
$body = file_get_contents('php://input');
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$time = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
$key = base64_decode(preg_replace('/^whsec_/', '', getenv('INGEST_FORWARD_SECRET') ?: ''));
$right = base64_encode(hash_hmac('sha256', "$id.$time.$body", $key, true));
$signed = false;
foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $given) {  // one of several may be ours
    $signed = hash_equals("v1,$right", $given) || $signed;
}
if ($key === '' || !$signed || abs(time() - (int) $time) > 300) {
    http_response_code(401);  // the ingester keeps the call as a dead letter: `ingest failed list`
    exit("This call is not signed with our secret.\n");
}
// --- as it always was --------------------------------------------------------------------------------------------

$line = json_encode($_POST, JSON_INVALID_UTF8_SUBSTITUTE) . "\n";
if (file_put_contents(getenv('EVENTS_FILE') ?: 'events.jsonl', $line, FILE_APPEND | LOCK_EX) === false) {
    http_response_code(500);  // the ingester tries again later
}
