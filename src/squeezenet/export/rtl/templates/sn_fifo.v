// First in, first out, 16 elements in logic. `used` counts those inside.
module sn_fifo #(
    parameter W = 8
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [W-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [W-1:0] out_data
);
    reg [W-1:0] memory [0:15];
    reg [3:0] head, tail;
    reg [4:0] used;
    wire push = in_valid && in_ready;
    wire pop = out_valid && out_ready;
    assign in_ready = !used[4];
    assign out_valid = used != 0;
    assign out_data = memory[head];
    always @(posedge clk) begin
        if (push) memory[tail] <= in_data;
        if (rst) begin
            head <= 0;
            tail <= 0;
            used <= 0;
        end else begin
            if (push) tail <= tail + 1;
            if (pop) head <= head + 1;
            if (push && !pop) used <= used + 1;
            if (pop && !push) used <= used - 1;
        end
    end
endmodule
