<?php
// What public/copernica.php and work.php share.
declare(strict_types=1);

/** Seconds by which the clocks of the ingester and of this machine may differ. */
const TOLERANCE = 300;

/** The keys that secrets stand for; empty if there is none, or one of them is not base64. */
function keys(string $secrets): array
{
    $keys = array_map(
        fn (string $secret) => base64_decode(preg_replace('/^whsec_/', '', trim($secret)), true),
        explode(',', $secrets),
    );
    return array_filter($keys) === $keys ? $keys : [];  // an empty key would let anybody sign
}

/** Whether a call was signed with one of the keys, by the rules of Standard Webhooks, a short time ago. */
function is_signed(array $keys, string $id, string $time, string $signatures, string $body): bool
{
    if ($id === '' || !ctype_digit($time) || abs(time() - (int) $time) > TOLERANCE) {
        return false;
    }
    $signed = false;
    foreach ($keys as $key) {
        $right = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$time.$body", $key, true));
        foreach (explode(' ', $signatures) as $signature) {
            $signed = hash_equals($right, $signature) || $signed;
        }
    }
    return $signed;
}

/** The table of calls. */
function database(array $config): PDO
{
    return new PDO($config['dsn'], $config['user'], $config['password'], [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => false,  // bodies are bytes, of no character set
        PDO::ATTR_TIMEOUT => 10,
    ]);
}

/** The fields of a body, as PHP would have them in $_POST. */
function event(string $contentType, string $body): array
{
    if (stripos($contentType, 'json') !== false) {
        $flags = JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING | JSON_INVALID_UTF8_SUBSTITUTE;
        return (array) json_decode($body, true, 512, $flags);
    }
    if (substr_count($body, '&') >= (int) ini_get('max_input_vars')) {
        throw new RuntimeException('The form has more fields than max_input_vars in php.ini: PHP would drop some.');
    }
    parse_str($body, $event);
    return $event;
}
