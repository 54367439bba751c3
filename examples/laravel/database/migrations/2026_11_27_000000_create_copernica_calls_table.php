<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class extends Migration
{
    public function up(): void
    {
        Schema::create('copernica_calls', function (Blueprint $table) {
            $table->char('id', 24)->primary();  // makes a call that comes twice harmless
            $table->string('content_type');
            $table->longText('body');  // in base64: bodies are bytes, of up to some megabytes, on every database
            $table->timestamp('taken_at')->useCurrent();
            $table->timestamp('handled_at')->nullable()->index();
        });
    }

    public function down(): void
    {
        Schema::dropIfExists('copernica_calls');
    }
};
