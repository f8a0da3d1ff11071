// The L sums of a channel leave as beats of S elements: rescaled if RESCALE, else as they are.
// `busy` says that a word cannot be loaded now. Beats that are on their way have a place in the FIFO at the end.
module sn_emit #(
    parameter C = 1,
    parameter L = 1,
    parameter S = 1,
    parameter ACC = 20,
    parameter X = 8,
    parameter RESCALE = 1,
    parameter NT = 1,
    parameter [8*NT-1:0] SHIFTS = 12,
    parameter LEAST = 12,
    parameter signed [31:0] LOW = 0,
    parameter signed [31:0] HIGH = 255,
    parameter BIAS = 24,
    parameter FILE = ""
) (
    input wire clk,
    input wire rst,
    input wire load,
    input wire [L*ACC-1:0] sums,
    output wire busy,
    output wire out_valid,
    input wire out_ready,
    output wire [S*X-1:0] out_data
);
    localparam N = L / S;
    localparam CB = C > 1 ? $clog2(C) : 1;
    reg full;
    reg [L*ACC-1:0] word;
    reg [4:0] room;
    wire send = full && room != 0;
    wire pop = out_valid && out_ready;
    wire beat_last;
    wire [CB-1:0] channel;
    /* verilator lint_off UNUSED */
    wire [(N > 1 ? $clog2(N) : 1)-1:0] unused_beat;
    wire unused_last, never_full;
    /* verilator lint_on UNUSED */
    sn_count #(.N(N)) count_beat (.clk(clk), .rst(rst), .step(send), .value(unused_beat), .last(beat_last));
    sn_count #(.N(C)) count_c (
        .clk(clk), .rst(rst), .step(send && beat_last), .value(channel), .last(unused_last));
    assign busy = full;  // without a look at `send`: this signal stops all lanes of a stage, so its path is short
    always @(posedge clk) begin
        if (load) word <= sums;
        else if (send) word <= word >> (S*ACC);
        if (rst) begin
            full <= 0;
            room <= 5'd16;
        end else begin
            if (load) full <= 1;
            else if (send && beat_last) full <= 0;
            if (send && !pop) room <= room - 1;
            if (pop && !send) room <= room + 1;
        end
    end
    wire done;
    wire [S*X-1:0] result;
    generate
        if (RESCALE != 0) begin : scaled
            sn_rescale #(
                .C(C), .S(S), .ACC(ACC), .X(X), .NT(NT), .SHIFTS(SHIFTS), .LEAST(LEAST), .LOW(LOW), .HIGH(HIGH),
                .BIAS(BIAS), .FILE(FILE)
            ) rescale (
                .clk(clk), .rst(rst), .in_valid(send), .sums(word[S*ACC-1:0]), .channel(channel),
                .out_valid(done), .out(result));
        end else begin : plain
            /* verilator lint_off UNUSED */
            wire [CB-1:0] unused_channel = channel;
            /* verilator lint_on UNUSED */
            assign done = send;
            assign result = word[S*X-1:0];  // ACC is X
        end
    endgenerate
    sn_fifo #(.W(S*X)) fifo (
        .clk(clk), .rst(rst), .in_valid(done), .in_ready(never_full), .in_data(result),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
endmodule
